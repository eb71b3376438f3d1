"""A tiny head pack, and a small data set drawn from it where OpenGL can start."""

from __future__ import annotations

from pathlib import Path

import pytest

from parlante.errors import FailedPrecondition
from parlante.synth.assets import HeadPack, load_pack
from parlante.synth.dataset_maker import make_dataset
from parlante.synth.generator import SynthOptions
from parlante.synth.gl import open_context
from parlante.synth.subject import Studio
from tests.unit.synth.tiny_heads import tiny_landmarks, write_tiny_pack

OPTIONS = SynthOptions(num_subjects=3, frames_per_subject=3, seed=4, size_px=128)


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny pack."""
    return write_tiny_pack(tmp_path_factory.mktemp("heads") / "pack")


@pytest.fixture(scope="session")
def pack(heads: Path) -> HeadPack:
    return load_pack(heads)


@pytest.fixture(scope="session")
def studio(pack: HeadPack) -> Studio:
    return Studio.of(pack, tiny_landmarks(pack))


@pytest.fixture(scope="session")
def opengl() -> None:
    """Skip where no OpenGL context can be made."""
    try:
        open_context().release()
    except FailedPrecondition as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def drawn(studio: Studio, opengl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a data set of three subjects."""
    folder = tmp_path_factory.mktemp("synth") / "set"
    make_dataset(studio, folder, OPTIONS)
    return folder
