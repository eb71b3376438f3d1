"""The tracker's files: found, missing, damaged, unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from parlante.errors import FailedPrecondition
from parlante.models import tracker_files
from parlante.models.face_tracker import FaceTracker
from parlante.models.tracker_files import (
    TRACKER_FILES,
    TrackerFile,
    extract_tracker_files,
    find_missing_files,
    require_tracker_files,
    tracker_dir,
)

HELLO_SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracker that consists of one small file."""
    file = TrackerFile(name="net.tflite", member="inside/net.tflite", sha256=HELLO_SHA256)
    monkeypatch.setattr(tracker_files, "TRACKER_FILES", (file,))


def make_wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inside/net.tflite", content)
    return path


def test_tracker_refuses_to_start_without_its_files(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="make setup") as caught:
        FaceTracker(tmp_path)
    assert caught.value.reason == "TRACKER_FILES_MISSING"


def test_all_files_are_named_when_the_folder_is_empty(tmp_path: Path) -> None:
    assert find_missing_files(tmp_path) == [file.name for file in TRACKER_FILES]


@pytest.mark.usefixtures("one_file")
def test_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"hellO")
    assert find_missing_files(tmp_path) == ["net.tflite"]


@pytest.mark.usefixtures("one_file")
def test_files_are_unpacked_from_a_wheel(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "tracker"
    extract_tracker_files(make_wheel(tmp_path / "a.whl", b"hello"), target)
    assert require_tracker_files(target) == target
    assert [path.name for path in target.iterdir()] == ["net.tflite"]


@pytest.mark.usefixtures("one_file")
def test_wheel_with_other_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="SHA-256"):
        extract_tracker_files(make_wheel(tmp_path / "a.whl", b"other"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("one_file")
def test_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"not a zip file")
    with pytest.raises(FailedPrecondition, match="delete the wheel"):
        extract_tracker_files(tmp_path / "a.whl", tmp_path / "out")


def test_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARLANTE_MODEL_DIR", str(tmp_path))
    assert tracker_dir() == tmp_path


@pytest.mark.skipif(tracker_files.sys.platform != "linux", reason="the XDG rule is Linux's")
@pytest.mark.parametrize(("value", "absolute"), [("/some/cache", True), ("relative", False)])
def test_relative_cache_home_is_ignored(
    monkeypatch: pytest.MonkeyPatch, value: str, absolute: bool
) -> None:
    monkeypatch.delenv("PARLANTE_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    base = Path(value) if absolute else Path.home() / ".cache"
    assert tracker_dir() == base / "parlante" / "tracker"
