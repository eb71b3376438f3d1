"""Shared memory between a caller and the model that writes its pixels there."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parlante.triton import regions
from parlante.triton.regions import OpenRegions, Region


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(regions, "_DIR", tmp_path)
    return tmp_path


@pytest.fixture
def region() -> Iterator[Region]:
    region = Region(1000)
    yield region
    region.close()


def test_what_a_model_writes_is_read() -> None:
    region, opened = Region(1000), OpenRegions()
    memory = opened.find(region.name)
    assert memory is not None
    assert memory.shape == (1000,)
    memory[:3] = (7, 8, 9)
    assert region.view()[:3].tolist() == [7, 8, 9]
    region.close()


@pytest.mark.parametrize(
    "name",
    ["", "parlante-1-00", "../etc/passwd", "parlante-1-00112233445g", "/parlante-1-001122334455"],
)
def test_nothing_but_regions_is_opened(folder: Path, name: str) -> None:
    (folder / "parlante-1-00").write_bytes(b"not ours")
    assert OpenRegions().find(name) is None


def test_a_region_that_is_a_link_is_not_opened(folder: Path) -> None:
    target = folder / "target"
    target.write_bytes(b"precious")
    (folder / "parlante-1-001122334455").symlink_to(target)
    assert OpenRegions().find("parlante-1-001122334455") is None


def test_a_region_of_another_host_is_not_found(region: Region) -> None:
    (regions._DIR / region.name).unlink()
    assert OpenRegions().find(region.name) is None


def test_a_region_that_was_given_up_is_freed_and_leaves_no_file(folder: Path) -> None:
    region, other, opened = Region(1000), Region(1000), OpenRegions()
    opened.find(region.name)
    opened.find(other.name)
    region.close()
    opened.drop_ownerless()
    assert len(opened) == 1
    other.close()
    opened.drop_ownerless()
    assert len(opened) == 0
    assert list(folder.iterdir()) == []


def test_a_model_may_still_write_to_what_was_given_up() -> None:
    region, opened = Region(1000), OpenRegions()
    memory = opened.find(region.name)
    assert memory is not None
    region.close()
    opened.drop_ownerless()
    memory[:] = 1  # a call that its caller has given up meanwhile
    assert np.all(memory == 1)


def _hold(folder: Path, connection: object) -> None:
    regions._DIR = folder  # type: ignore[misc]
    region = Region(1000)
    connection.send(region.name)  # type: ignore[attr-defined]
    signal.pause()


def test_what_a_killed_caller_leaves_is_freed_on_both_sides(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    caller = context.Process(target=_hold, args=(folder, theirs))
    caller.start()
    opened = OpenRegions()
    assert opened.find(ours.recv()) is not None
    opened.drop_ownerless()
    assert len(opened) == 1  # it lives
    assert caller.pid is not None
    os.kill(caller.pid, signal.SIGKILL)
    caller.join()
    caller.close()
    opened.drop_ownerless()
    assert len(opened) == 0
    next_one = Region(1000)
    assert [path.name for path in folder.iterdir()] == [next_one.name]
    next_one.close()


def test_no_room_is_an_error_that_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        Region(1000)
    assert list(folder.iterdir()) == []
