"""Who holds the shared memory of a client's calls, and how long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from parlante.triton import regions
from parlante.triton.layout import RowResult, RowStatus
from parlante.triton.region_pool import MAX_LENT, RegionPool
from parlante.triton.regions import Region


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(regions, "_DIR", tmp_path)
    return tmp_path


@pytest.fixture
def pool(folder: Path) -> Iterator[RegionPool]:
    pool = RegionPool("here:8001")
    yield pool
    pool.close()
    assert list(folder.iterdir()) == []


def taken(pool: RegionPool) -> Region:
    region = pool.take()
    assert region is not None
    return region


def answer(region: Region, value: int, num_rows: int = 1) -> list[RowResult]:
    """Results as `split_results` gives them, drawn in the region."""
    memory = region.view()
    memory[: 12 * num_rows] = value
    return [
        RowResult(
            status=RowStatus.OK, pixels=memory[12 * n : 12 * n + 12].reshape(2, 2, 3), offset=12 * n
        )
        for n in range(num_rows)
    ]


def next_of(pool: RegionPool) -> Region:
    """Which region the next call would get."""
    region = taken(pool)
    pool.give_back(region, [])
    return region


def in_message() -> list[RowResult]:
    return [RowResult(status=RowStatus.OK, pixels=np.zeros((2, 2, 3), np.uint8))]


def test_a_region_is_not_used_again_while_its_pixels_are_held(pool: RegionPool) -> None:
    region = taken(pool)
    (first, second) = pool.give_back(region, answer(region, 1, num_rows=2))
    del first
    other = taken(pool)
    assert other.name != region.name
    pool.give_back(other, answer(other, 2))
    assert second.pixels is not None
    assert (second.pixels == 1).all()


def test_a_region_is_used_again_once_its_pixels_are_gone(pool: RegionPool) -> None:
    region = taken(pool)
    results = pool.give_back(region, answer(region, 1))
    part = results[0].pixels[0, :1]  # type: ignore[index]
    del results
    assert next_of(pool) is not region  # a part of them is still held
    del part
    assert next_of(pool) is region


def test_pixels_that_are_let_go_of_by_another_thread_free_their_region(pool: RegionPool) -> None:
    region = taken(pool)
    held = [pool.give_back(region, answer(region, 1))]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert next_of(pool) is region


def test_pixels_beyond_a_few_regions_are_copies(pool: RegionPool) -> None:
    held = []
    for value in range(MAX_LENT + 3):
        region = taken(pool)
        held.append(pool.give_back(region, answer(region, value)))
    assert len(list(regions._DIR.iterdir())) == MAX_LENT + 1
    for value, (row,) in enumerate(held):
        assert row.pixels is not None
        assert (row.pixels == value).all()


def test_pixels_stay_when_the_pool_is_closed(pool: RegionPool, folder: Path) -> None:
    region = taken(pool)
    (row,) = pool.give_back(region, answer(region, 7))
    pool.close()
    assert list(folder.iterdir()) == []
    assert row.pixels is not None
    assert (row.pixels == 7).all()
    del row
    assert list(folder.iterdir()) == []


def test_a_server_that_cannot_open_the_first_region_gets_no_other(pool: RegionPool) -> None:
    pool.give_back(taken(pool), in_message())
    assert pool.take() is None


def test_a_region_that_was_lost_later_is_replaced(pool: RegionPool) -> None:
    region = taken(pool)
    pool.give_back(region, answer(region, 1))
    assert taken(pool) is region
    pool.give_back(region, in_message())  # as when somebody has emptied /dev/shm
    assert next_of(pool).name != region.name


def test_rows_without_pixels_say_nothing_of_a_region(pool: RegionPool) -> None:
    region = taken(pool)
    pool.give_back(region, [RowResult(status=RowStatus.AVATAR_MISSING)])
    assert next_of(pool) is region


def test_without_room_pixels_come_within_messages(
    pool: RegionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert pool.take() is None
    assert RegionPool("there:8001", is_wanted=False).take() is None
