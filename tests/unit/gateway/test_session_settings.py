"""What a session's settings refuse before any stage is asked."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gateway.values import SessionSettings
from parlante.errors import InvalidInput
from parlante.types import Background, BackgroundKind


def picture_file(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def settings(kind: BackgroundKind, picture: bytes) -> SessionSettings:
    return SessionSettings(avatar_name="anna", background=Background(kind=kind, picture=picture))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_background_pictures_of_the_known_kinds_pass(kind: str) -> None:
    settings(BackgroundKind.PICTURE, picture_file(kind))


@pytest.mark.parametrize(
    "picture",
    [b"hello", picture_file("GIF"), b"RIFF\0\0\0\0WAVEfmt "],
    ids=["text", "GIF", "WAVE"],
)
def test_background_that_is_no_picture_is_refused_by_its_name(picture: bytes) -> None:
    """The renderer refused it when the session had begun, and called it a portrait."""
    with pytest.raises(InvalidInput, match=r"^background\.picture must be") as refused:
        settings(BackgroundKind.PICTURE, picture)
    assert (refused.value.reason, refused.value.field) == ("NOT_AN_IMAGE", "background.picture")


def test_picture_of_another_background_is_not_looked_at() -> None:
    settings(BackgroundKind.BLURRED, b"hello")
