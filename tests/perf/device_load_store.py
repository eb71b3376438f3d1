"""The store of a load bench: avatars and something to say, so that no tracker is needed."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from pathlib import Path

from parlante.types import MODEL_SAMPLE_RATE_HZ

__all__ = ["avatars_of", "fill_store", "keys_of", "speech_of"]

_SPEECH = "speech.wav"
_SPEECH_S = 60.0


def speech_of(store: Path) -> Path:
    """Give the speech of a store that was filled."""
    return store / _SPEECH


def avatars_of(store: Path) -> list[str]:
    """Give the names of a store's avatars."""
    return sorted(path.stem for path in (store / "names").glob("*.json"))


def keys_of(store: Path) -> list[str]:
    """Give the content keys of a store's avatars, in the order of their names."""
    names = sorted((store / "names").glob("*.json"))
    return [json.loads(path.read_text())["key"] for path in names]


def fill_store(store: Path, portrait: Path | None, num_avatars: int) -> None:
    """Encode portraits into a store and put speech beside them.

    Args:
        store: Folder, made if absent.
        portrait: A picture; None takes the sample one.
        num_avatars: So many are made of it, that differ in a pixel: avatars to all that serves
            them. A fleet keeps the sessions of one avatar together, so one would not load it all.
    """
    # Imported here: whoever is given a filled store needs none of this.
    from parlante.cli.sample import sample_portrait, sample_speech
    from services.encoder.engine import EncoderEngine

    picture = sample_portrait() if portrait is None else portrait.read_bytes()

    async def encode() -> None:
        async with EncoderEngine.open(store) as engine:
            for number in range(num_avatars):
                await engine.create(_changed(picture, number), name=f"load-{number:02d}")

    asyncio.run(encode())
    pcm = sample_speech(min_seconds=_SPEECH_S).pcm16(MODEL_SAMPLE_RATE_HZ)
    with wave.open(str(speech_of(store)), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MODEL_SAMPLE_RATE_HZ)
        file.writeframes(pcm.tobytes())
    print(f"{store} holds {num_avatars} avatars and speech")


def _changed(picture: bytes, number: int) -> bytes:
    from PIL import Image

    from parlante.media.image import decode_image

    pixels = decode_image(picture).copy()
    pixels[0, 0] = number
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()
