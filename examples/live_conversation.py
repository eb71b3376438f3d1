"""Speak into a live session as a microphone would, and keep the pictures.

    python examples/live_conversation.py --server localhost:50050 --portrait me.jpg \
        --audio speech.wav --output-dir frames

Writes one JPEG per frame that arrives, and prints events as they come. An assistant would do the
same with the voice of its speech synthesis in place of the file. With `--listening user.wav` the
user has the first word: the avatar listens to that file before it answers.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import soundfile

from parlante.client import Event, Frame, ParlanteClient, Session
from parlante.rpc.tls import TlsFiles
from parlante.types import Controls, Int16Array

CHUNK_MS = 20


async def in_real_time(audio: Path) -> AsyncIterator[Int16Array]:
    """Give a mono file piece by piece, each when a microphone would have heard it."""
    samples, rate_hz = soundfile.read(audio, dtype="int16")
    step = rate_hz * CHUNK_MS // 1000
    clock = asyncio.get_running_loop().time
    started_s = clock()
    for end in range(step, len(samples) + step, step):
        # Wait for a point in time, not for a while: sleeps that are a little long would add up.
        await asyncio.sleep(started_s + end / rate_hz - clock())
        yield samples[end - step : end]


async def listen(session: Session, audio: Path) -> None:
    """Let the avatar hear its user."""
    async for piece in in_real_time(audio):
        await session.send_listening(piece)


async def speak(session: Session, audio: Path) -> None:
    """Say a file, look aside half-way, and finish."""
    num_sent, half = 0, soundfile.info(audio).frames // 2
    async for piece in in_real_time(audio):
        await session.send_audio(piece)
        if num_sent <= half < num_sent + len(piece):
            await session.update(Controls(gaze_yaw_rad=0.2, emotion={"happy": 0.5}))
        num_sent += len(piece)
    await session.end_utterance()
    await session.finish()


async def talk(session: Session, audio: Path, listening: Path | None) -> None:
    """Listen to the user, if there is something to hear, and answer."""
    if listening is not None:
        await listen(session, listening)
    await speak(session, audio)


async def converse(
    server: str,
    portrait: Path,
    audio: Path,
    output_dir: Path,
    *,
    listening: Path | None = None,
    tls: TlsFiles | None = None,
) -> int:
    """Hold the session; gives the number of frames."""
    num_frames = 0
    async with ParlanteClient(server, tls=tls) as client:
        await client.wait_ready()
        avatar = await client.create_avatar(portrait)
        rate_hz = soundfile.info(audio).samplerate
        if listening is not None and soundfile.info(listening).samplerate != rate_hz:
            raise SystemExit(f"both files must have one rate; {audio} has {rate_hz} Hz")
        async with (
            client.converse(avatar=avatar.name, sample_rate_hz=rate_hz) as session,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(talk(session, audio, listening))
            async for item in session:
                match item:
                    case Frame(seq=seq, data=jpeg):
                        (output_dir / f"{seq:05}.jpg").write_bytes(jpeg)
                        num_frames += 1
                    case Event(type=kind, media_offset_us=offset_us):
                        print(f"{offset_us / 1e6:7.2f} s  {kind.value}")
    return num_frames


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="localhost:50050")
    parser.add_argument("--tls", action="store_true", help="the server speaks TLS")
    parser.add_argument(
        "--tls-ca", type=Path, help="PEM bundle that it is signed by, if not by a known authority"
    )
    parser.add_argument("--portrait", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True, help="mono WAV, FLAC or OGG")
    parser.add_argument(
        "--listening", type=Path, help="what the user says first, mono, at the same rate"
    )
    parser.add_argument("--output-dir", type=Path, default=Path("frames"))
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    tls = TlsFiles(ca=args.tls_ca) if args.tls or args.tls_ca else None
    paths = (args.portrait, args.audio, args.output_dir)
    num_frames = asyncio.run(converse(args.server, *paths, listening=args.listening, tls=tls))
    print(f"{num_frames} frames in {args.output_dir}")


if __name__ == "__main__":
    main()
