"""`parlante synth`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from parlante.errors import FailedPrecondition
from parlante.synth.assets import load_pack
from parlante.synth.gl import open_context
from tests.unit.synth.tiny_heads import tiny_landmarks, write_tiny_pack

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """A tiny pack with its landmark map beside it."""
    folder = write_tiny_pack(tmp_path / "heads")
    tiny_landmarks(load_pack(folder)).save(folder / "landmarks.npz")
    return folder


def test_synth_needs_the_head_parts(
    parlante: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARLANTE_HEADS", raising=False)
    code, _, err = parlante("synth", "--output", str(tmp_path / "set"))
    assert code == 2
    assert "--heads DIR or set PARLANTE_HEADS" in err


def test_synth_says_what_the_folder_lacks(parlante: Run, tmp_path: Path) -> None:
    code, _, err = parlante("synth", "--heads", str(tmp_path), "--output", str(tmp_path / "set"))
    assert code == 2
    assert "HEAD_PACK_MISSING" in err


def test_synth_refuses_a_map_of_another_pack(parlante: Run, heads: Path, tmp_path: Path) -> None:
    code, _, err = parlante("synth", "--heads", str(heads), "--output", str(tmp_path / "set"))
    assert code == 2
    assert "OTHER_HEAD_PACK" in err


def test_synth_refuses_no_processes(parlante: Run, heads: Path, tmp_path: Path) -> None:
    given = ("--heads", str(heads), "--output", str(tmp_path / "set"), "--num-processes", "0")
    code, _, err = parlante("synth", *given)
    assert code == 2
    assert "--num-processes takes at least 1" in err


@pytest.mark.slow
def test_synth_makes_a_set_a_sheet_and_a_report(
    parlante: Run, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        open_context().release()
    except FailedPrecondition as error:
        pytest.skip(error.message)
    monkeypatch.setenv("PARLANTE_HEADS", str(heads))
    sheet, folder = tmp_path / "sheet.png", tmp_path / "set"
    options = ["--landmarks", str(heads / "landmarks.npz"), "--size", "64", "--seed", "3"]
    options += ["--num-subjects", "1", "--frames-per-subject", "2", "--sheet", str(sheet)]
    code, out, err = parlante("synth", "--output", str(folder), *options, "--json")
    assert code == 0, err
    report = json.loads(out.splitlines()[-1])
    assert (report["num_made"], report["num_frames"]) == (1, 2)
    assert report["frames_per_second"] > 0
    assert (folder / "subject-00000.npz").is_file()
    assert sheet.stat().st_size > 1000
    code, out, _ = parlante("synth", "--output", str(folder), *options)
    assert code == 0
    assert "all 1 subjects were there" in out
