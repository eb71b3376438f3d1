"""Where the user's voice lies on the media clock, and what is dropped of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.listening import ListeningTrack
from parlante.types import Int16Array

RATE_HZ = 16_000
MS = RATE_HZ // 1000


def voice(duration_ms: int, *, first: int = 0) -> Int16Array:
    return np.arange(first, first + duration_ms * MS).astype(np.int16)


def placed(track: ListeningTrack) -> list[tuple[int, int]]:
    """Take everything out; gives start and end of each piece, ms."""
    pieces = []
    while (chunk := track.take()) is not None:
        pieces.append((chunk.start_sample // MS, (chunk.start_sample + len(chunk.samples)) // MS))
    assert track.num_queued == 0
    return pieces


def test_piece_ends_when_it_arrives() -> None:
    track = ListeningTrack(RATE_HZ)
    assert track.push(voice(20), 500 * MS) == 0
    assert placed(track) == [(480, 500)]


@pytest.mark.parametrize("jitter_ms", [(0, 0, 0), (150, -180, 20), (-100, 199, -30)])
def test_jitter_tears_no_holes(jitter_ms: tuple[int, ...]) -> None:
    track = ListeningTrack(RATE_HZ)
    track.push(voice(20), 1000 * MS)
    for index, late_ms in enumerate(jitter_ms):
        assert track.push(voice(20), (1020 + 20 * index + late_ms) * MS) == 0
    assert placed(track) == [(980, 1060)]


def test_pause_is_a_gap_and_the_place_is_taken_anew() -> None:
    track = ListeningTrack(RATE_HZ)
    track.push(voice(20), 1000 * MS)
    track.push(voice(20), 1221 * MS)
    assert placed(track) == [(980, 1000), (1201, 1221)]


def test_what_lies_before_the_session_is_dropped() -> None:
    track = ListeningTrack(RATE_HZ)
    assert track.push(voice(500), 300 * MS) == 200 * MS
    chunk = track.take()
    assert chunk is not None
    assert chunk.start_sample == 0
    np.testing.assert_array_equal(chunk.samples, voice(500)[200 * MS :])


def test_voice_faster_than_time_is_dropped_until_the_clock_has_caught_up() -> None:
    track = ListeningTrack(RATE_HZ)
    dropped = [track.push(voice(100), 1000 * MS) // MS for _ in range(5)]
    assert dropped == [0, 0, 0, 100, 100]  # 200 ms of jitter, and no more
    assert track.push(voice(100), 1150 * MS) == 100 * MS
    assert track.push(voice(100), 1250 * MS) == 50 * MS  # anew: its end is its arrival
    assert track.push(voice(100), 1350 * MS) == 0
    assert placed(track) == [(900, 1350)]


def test_at_most_a_second_waits_and_the_oldest_is_dropped() -> None:
    track = ListeningTrack(RATE_HZ)
    dropped = [track.push(voice(500), end_ms * MS) // MS for end_ms in (1000, 3000, 3500)]
    assert dropped == [0, 0, 500]
    assert placed(track) == [(2500, 3500)]


def test_what_is_queued_is_dropped_sample_by_sample() -> None:
    track = ListeningTrack(RATE_HZ)
    track.push(voice(900), 1000 * MS)
    assert track.push(voice(300), 1300 * MS) == 200 * MS
    chunk = track.take()
    assert chunk is not None
    assert (chunk.start_sample, len(chunk.samples)) == (300 * MS, RATE_HZ)
    np.testing.assert_array_equal(chunk.samples[:10], voice(900)[200 * MS :][:10])


def test_pieces_of_one_sample_cost_no_objects() -> None:
    track = ListeningTrack(RATE_HZ)
    for position in range(2000):
        track.push(np.ones(1, np.int16), RATE_HZ + position)
    assert len(track._segments) == 1
    assert track.num_queued == 2000


@given(
    steps=st.lists(
        st.tuples(st.integers(1, 9000), st.integers(0, 9000), st.booleans()),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=80, deadline=None)
def test_nothing_goes_back_and_every_sample_is_taken_or_dropped(
    steps: list[tuple[int, int, bool]],
) -> None:
    track = ListeningTrack(8000)
    now = end = num_taken = num_dropped = 0
    for length, passed, takes in steps:
        now += passed
        num_dropped += track.push(np.ones(length, np.int16), now)
        assert track.num_queued <= 8000
        while takes and (chunk := track.take()) is not None:
            assert chunk.start_sample >= end
            end = chunk.start_sample + len(chunk.samples)
            assert end <= now + 1600  # never further ahead than the jitter that is absorbed
            num_taken += len(chunk.samples)
    assert num_taken + num_dropped + track.num_queued == sum(length for length, _, _ in steps)
