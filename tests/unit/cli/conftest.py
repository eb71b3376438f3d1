"""Commands against fake stages: what `gateway_target` opens is replaced."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from parlante.cli.main import main
from tests.fakes.encoder import portrait_bytes
from tests.fakes.small_gateway import GreyRenderer, small_gateway

RATE_HZ = 16_000


@pytest.fixture
def fake_gateway(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that makes `talk` and `avatars` use a gateway of the given fakes."""

    def install(**options: Any) -> None:
        options.setdefault("renderer", GreyRenderer())

        @asynccontextmanager
        async def target(server: str | None, *, face_net: str | None = None) -> AsyncIterator[str]:
            async with small_gateway(**options) as gateway:
                yield gateway.target

        for module in ("talk", "avatars", "demo", "drive"):
            monkeypatch.setattr(f"parlante.cli.{module}.gateway_target", target)

    install()
    return install


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """A portrait that the fake encoder takes."""
    path = tmp_path / "anna.png"
    path.write_bytes(portrait_bytes("anna"))
    return path


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """One second of silence, then one of a loud tone."""
    samples = np.zeros(2 * RATE_HZ, dtype=np.float32)
    samples[RATE_HZ:] = 0.8 * np.sign(np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ))
    path = tmp_path / "speech.wav"
    soundfile.write(path, samples, RATE_HZ)
    return path


@pytest.fixture
def parlante(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line; gives exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def last_json(text: str) -> dict[str, Any]:
    """Read the last line as JSON."""
    value: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return value
