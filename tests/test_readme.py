"""What the README and the documents tell people to type works."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import pytest_asyncio
import soundfile

from parlante.cli.main import _COMMANDS, _join_signed
from tests.fakes.encoder import portrait_bytes
from tests.fakes.small_gateway import SmallGateway, small_gateway

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("deploy/*.md")])


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


def test_readme_has_commands() -> None:
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_readme_command_exists_with_its_options(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        subprocess.run(["make", "-n", *arguments], cwd=ROOT, check=True, capture_output=True)
    elif program == ".venv/bin/parlante":
        parse_command(arguments)
    elif program == ".venv/bin/python":
        script = ROOT / arguments[0]
        known = subprocess.run(
            [sys.executable, script, "--help"], check=True, capture_output=True, text=True
        ).stdout
        options = [word for word in arguments[1:] if word.startswith("--")]
        assert all(option in known for option in options)
    else:
        pytest.fail(f"no check for {program}")


def parse_command(arguments: list[str]) -> argparse.Namespace:
    name, *rest = arguments
    assert name in _COMMANDS
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"parlante.cli.{name}").configure(parser)
    return parser.parse_args(_join_signed(rest))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the examples name."""
    monkeypatch.chdir(tmp_path)
    Path("me.jpg").write_bytes(portrait_bytes("me"))
    soundfile.write("speech.wav", np.full(4800, 8000, dtype=np.int16), 16_000)
    Path("frames").mkdir()
    return tmp_path


@pytest_asyncio.fixture
async def gateway(folder: Path) -> AsyncIterator[SmallGateway]:
    """A gateway for what runs in that folder."""
    async with small_gateway() as running:
        yield running


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_readme_client_runs(
    gateway: SmallGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = blocks("python")
    namespace: dict[str, object] = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), namespace)
    main = namespace["main"]
    assert callable(main)
    await main(gateway.target)
    assert capsys.readouterr().out.split() == ["utterance_started", "utterance_finished"]


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_example_live_conversation_writes_frames(gateway: SmallGateway, folder: Path) -> None:
    example = load_example("live_conversation")
    num_frames = await example.converse(
        gateway.target, Path("me.jpg"), Path("speech.wav"), Path("frames")
    )
    assert num_frames >= 8
    assert names_in(folder / "frames")[-1] == f"{num_frames:05}.jpg"


async def test_example_live_conversation_listens_before_it_speaks(
    gateway: SmallGateway, folder: Path
) -> None:
    soundfile.write("user.wav", np.full(4800, 77, dtype=np.int16), 16_000)
    example = load_example("live_conversation")
    num_frames = await example.converse(
        gateway.target,
        Path("me.jpg"),
        Path("speech.wav"),
        Path("frames"),
        listening=Path("user.wav"),
    )
    heard = np.concatenate([chunk.samples for chunk in gateway.motion.listened])
    assert set(heard.tolist()) == {77}
    assert num_frames >= 15


async def test_example_live_conversation_needs_one_rate(
    gateway: SmallGateway, folder: Path
) -> None:
    soundfile.write("user.wav", np.zeros(100, dtype=np.int16), 8000)
    example = load_example("live_conversation")
    with pytest.raises(SystemExit, match="one rate"):
        await example.converse(
            gateway.target, Path("me.jpg"), Path("speech.wav"), folder, listening=Path("user.wav")
        )


async def test_example_blendshapes_writes_a_row_per_frame(gateway: SmallGateway) -> None:
    example = load_example("blendshapes")
    output = io.StringIO()
    num_frames = await example.write_motion(
        gateway.target, Path("me.jpg"), Path("speech.wav"), output
    )
    header, *rows = output.getvalue().splitlines()
    assert "jawOpen" in header.split(",")
    assert len(rows) == num_frames == 8


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert missing == []
