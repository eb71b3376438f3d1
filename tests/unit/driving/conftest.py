"""The made faces and tiny videos that tracking is tested with drive portraits too."""

from __future__ import annotations

from tests.unit.videos.conftest import MadeFace, made_face, talking, write_video

__all__ = ["MadeFace", "made_face", "talking", "write_video"]
