"""The media clock: prebuffer, underrun, bursts, ends, interrupts, and exact positions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.timeline import FrameMarks, Step, Timeline, frame_start_sample
from gateway.values import Event, EventType, PlayedAudio, Speech
from parlante.errors import InvalidInput
from parlante.types import Int16Array

RATE_HZ = 16_000
FRAME = 640
MS = RATE_HZ // 1000


def make_timeline(rate_hz: int = RATE_HZ) -> Timeline:
    return Timeline(rate_hz, prebuffer_ms=120, prebuffer_timeout_ms=200)


def ramp(num_samples: int, start: int = 1) -> Int16Array:
    return ((np.arange(num_samples) + start) % 30_000 + 1).astype(np.int16)


def push(timeline: Timeline, num_samples: int, utterance_id: str = "") -> Int16Array:
    samples = ramp(num_samples, start=timeline.num_received)
    timeline.push(
        Speech(start_sample=timeline.num_received, samples=samples, utterance_id=utterance_id)
    )
    return samples


def step_frames(timeline: Timeline, num_frames: int) -> list[Step]:
    return [timeline.step(FRAME) for _ in range(num_frames)]


def events(steps: list[Step]) -> list[tuple[EventType, int, str]]:
    return [
        (item.type, item.media_offset_us, item.utterance_id)
        for step in steps
        for item in step.items
        if isinstance(item, Event)
    ]


def audio_of(steps: list[Step], utterance_id: str) -> Int16Array:
    parts = [
        item.samples
        for step in steps
        for item in step.items
        if isinstance(item, PlayedAudio) and item.utterance_id == utterance_id
    ]
    return np.concatenate([*parts, np.zeros(0, np.int16)])


def test_step_gives_silence_when_nothing_was_said() -> None:
    step = make_timeline().step(FRAME)
    assert (step.start_sample, len(step.samples), step.samples.any()) == (0, FRAME, False)
    assert [item.utterance_id for item in step.items if isinstance(item, PlayedAudio)] == [""]


def test_utterance_waits_for_the_prebuffer() -> None:
    timeline = make_timeline()
    push(timeline, 119 * MS, "a")
    assert events(step_frames(timeline, 1)) == []
    push(timeline, 1 * MS, "a")
    assert events(step_frames(timeline, 1)) == [(EventType.UTTERANCE_STARTED, 40_000, "a")]


def test_utterance_waits_no_longer_than_the_timeout() -> None:
    timeline = make_timeline()
    push(timeline, 50 * MS, "a")
    assert events(step_frames(timeline, 5)) == []  # 0 to 160 ms
    started, underrun = events(step_frames(timeline, 2))[:2]
    assert started == (EventType.UTTERANCE_STARTED, 200_000, "a")
    assert underrun == (EventType.AUDIO_UNDERRUN, 250_000, "a")


def test_short_utterance_plays_at_once_when_its_end_is_known() -> None:
    timeline = make_timeline()
    said = push(timeline, 30 * MS, "a")
    timeline.end("a")
    steps = step_frames(timeline, 1)
    assert events(steps) == [
        (EventType.UTTERANCE_STARTED, 0, "a"),
        (EventType.UTTERANCE_FINISHED, 30_000, "a"),
    ]
    np.testing.assert_array_equal(audio_of(steps, "a"), said)


def test_underrun_inserts_silence_and_the_clock_goes_on() -> None:
    timeline = make_timeline()
    first = push(timeline, 150 * MS, "a")
    steps = step_frames(timeline, 6)
    assert (EventType.AUDIO_UNDERRUN, 150_000, "a") in events(steps)
    second = push(timeline, 120 * MS, "a")
    timeline.end("a")
    steps += step_frames(timeline, 3)
    assert timeline.position_sample == 9 * FRAME
    np.testing.assert_array_equal(audio_of(steps, "a"), np.concatenate([first, second]))
    assert not np.concatenate([s.samples for s in steps])[150 * MS : 240 * MS].any()
    assert events(steps)[-1] == (EventType.UTTERANCE_FINISHED, 360_000, "a")


def test_underrun_is_told_once_until_audio_plays_again() -> None:
    timeline = make_timeline()
    push(timeline, 120 * MS, "a")
    told = [event for event in events(step_frames(timeline, 20)) if "UNDERRUN" in event[0].name]
    assert len(told) == 1


def test_burst_queues_up_and_plays_in_real_time() -> None:
    timeline = make_timeline()
    said = push(timeline, 10_000 * MS, "a")
    timeline.end("a")
    steps = step_frames(timeline, 250)
    assert timeline.num_queued == 0
    np.testing.assert_array_equal(audio_of(steps, "a"), said)
    assert events(steps)[-1] == (EventType.UTTERANCE_FINISHED, 10_000_000, "a")


def test_new_id_ends_the_utterance_before() -> None:
    timeline = make_timeline()
    push(timeline, 100 * MS, "a")
    push(timeline, 120 * MS, "b")
    assert events(step_frames(timeline, 3)) == [
        (EventType.UTTERANCE_STARTED, 0, "a"),
        (EventType.UTTERANCE_FINISHED, 100_000, "a"),
        (EventType.UTTERANCE_STARTED, 100_000, "b"),
    ]


def test_complete_utterances_are_ready_and_an_open_one_only_for_all_that_is_asked() -> None:
    timeline = make_timeline()
    push(timeline, 5, "a")
    assert (timeline.num_ready(5), timeline.num_ready(6)) == (5, 0)
    push(timeline, 3, "b")
    assert [timeline.num_ready(wanted) for wanted in (6, 8, 9)] == [6, 8, 5]
    timeline.end("b")
    assert timeline.num_ready(9) == 8


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 44_101])
def test_end_frame_is_the_first_that_begins_behind_the_audio(rate_hz: int) -> None:
    timeline = make_timeline(rate_hz)
    assert timeline.end_frame == 0
    for num_samples in (1, 100, 219, 320, 321, 1000, 1763, 1):
        push(timeline, num_samples, "a")
        timeline.step(timeline.num_queued // 2)
        begin, behind = (frame_start_sample(timeline.end_frame + i, rate_hz) for i in (-1, 0))
        assert begin < timeline.position_sample + timeline.num_queued <= behind


def test_unnamed_audio_gets_a_new_name_after_an_end() -> None:
    timeline = make_timeline()
    for _ in range(2):
        push(timeline, 40 * MS)
        timeline.end("")
    names = [name for _, _, name in events(step_frames(timeline, 2))]
    assert names == ["utterance-1", "utterance-1", "utterance-2", "utterance-2"]


def test_server_names_never_meet_the_client_s() -> None:
    timeline = make_timeline()
    push(timeline, 40 * MS, "utterance-1")
    timeline.end("")
    push(timeline, 40 * MS)
    timeline.end("")
    assert {name for _, _, name in events(step_frames(timeline, 2))} == {
        "utterance-1",
        "utterance-2",
    }


def test_close_plays_the_queue_out_and_finishes() -> None:
    timeline = make_timeline()
    push(timeline, 100 * MS, "a")
    timeline.close()
    assert not timeline.drained
    steps = step_frames(timeline, 3)
    assert timeline.drained
    assert events(steps)[-1] == (EventType.UTTERANCE_FINISHED, 100_000, "a")


def test_end_of_an_utterance_without_audio_finishes_it() -> None:
    timeline = make_timeline()
    timeline.end("ghost")
    assert events(step_frames(timeline, 2)) == [(EventType.UTTERANCE_FINISHED, 0, "ghost")]


def test_interrupt_drops_the_queue_here_and_finishes_once() -> None:
    timeline = make_timeline()
    push(timeline, 1000 * MS, "a")
    step_frames(timeline, 4)
    cut = timeline.interrupt("a")
    assert [(e.type, e.media_offset_us, e.utterance_id, e.interrupted) for e in cut] == [
        (EventType.INTERRUPTED, 160_000, "a", False),
        (EventType.UTTERANCE_FINISHED, 160_000, "a", True),
    ]
    after = step_frames(timeline, 5)
    assert events(after) == []
    assert not np.concatenate([step.samples for step in after]).any()


def test_second_interrupt_is_answered_but_finishes_nothing() -> None:
    timeline = make_timeline()
    push(timeline, 1000 * MS, "a")
    timeline.interrupt("a")
    assert [event.type for event in timeline.interrupt("a")] == [EventType.INTERRUPTED]
    timeline.end("a")
    timeline.close()
    assert events(step_frames(timeline, 2)) == []


def test_interrupt_without_id_finishes_all_that_waits() -> None:
    timeline = make_timeline()
    push(timeline, 200 * MS, "a")
    push(timeline, 200 * MS, "b")
    step_frames(timeline, 1)
    finished = [e.utterance_id for e in timeline.interrupt("") if e.interrupted]
    assert finished == ["a", "b"]
    assert timeline.num_queued == 0


def test_interrupt_of_one_leaves_the_next() -> None:
    timeline = make_timeline()
    push(timeline, 200 * MS, "a")
    said = push(timeline, 40 * MS, "b")
    timeline.end("b")
    timeline.interrupt("a")
    np.testing.assert_array_equal(audio_of(step_frames(timeline, 1), "b"), said)


def test_interrupt_before_any_audio_drops_it_when_it_comes() -> None:
    timeline = make_timeline()
    assert [event.type for event in timeline.interrupt("a")] == [
        EventType.INTERRUPTED,
        EventType.UTTERANCE_FINISHED,
    ]
    push(timeline, 400 * MS, "a")
    assert timeline.num_queued == 0


def test_late_audio_of_an_interrupted_utterance_counts_but_is_dropped() -> None:
    timeline = make_timeline()
    push(timeline, 200 * MS, "a")
    timeline.interrupt("a")
    push(timeline, 200 * MS, "a")
    assert (timeline.num_queued, timeline.num_received) == (0, 400 * MS)


def test_audio_of_a_complete_utterance_is_refused() -> None:
    timeline = make_timeline()
    push(timeline, 40 * MS, "a")
    timeline.end("a")
    with pytest.raises(InvalidInput) as refused:
        push(timeline, 40 * MS, "a")
    assert refused.value.reason == "UTTERANCE_ENDED"


@pytest.mark.parametrize(("start", "reason"), [(641, "AUDIO_GAP"), (639, "AUDIO_OVERLAP")])
def test_audio_must_be_contiguous(start: int, reason: str) -> None:
    timeline = make_timeline()
    push(timeline, 640)
    with pytest.raises(InvalidInput) as refused:
        timeline.push(Speech(start_sample=start, samples=ramp(10)))
    assert refused.value.reason == reason


def test_remembered_utterances_are_bounded() -> None:
    timeline = make_timeline()
    for index in range(1000):
        timeline.interrupt(f"u{index}")
    assert len(timeline._finished) == 256


def test_silence_between_pieces_of_one_byte_costs_no_objects() -> None:
    timeline = make_timeline()
    for _ in range(2000):
        push(timeline, 1, "a")
    assert (timeline.num_utterances, timeline.num_queued) == (1, 2000)


@pytest.mark.parametrize("rate_hz", [8000, 8001, 11_025, 22_050, 44_100, 47_999, 48_000])
def test_ten_hours_do_not_drift(rate_hz: int) -> None:
    num_frames = 10 * 3600 * 25
    assert frame_start_sample(num_frames, rate_hz) == 10 * 3600 * rate_hz
    lengths = np.diff(
        [frame_start_sample(n, rate_hz) for n in range(num_frames - 1000, num_frames)]
    )
    assert set(lengths) <= {rate_hz // 25, -(-rate_hz // 25)}
    timeline = Timeline(rate_hz)
    timeline.position_sample = 10 * 3600 * rate_hz
    assert timeline.offset_us(timeline.position_sample) == 10 * 3600 * 1_000_000


@given(
    rate_hz=st.sampled_from([8000, 11_025, 16_000, 22_050, 44_101]),
    lengths=st.lists(st.integers(1, 5000), min_size=1, max_size=12),
    ends=st.lists(st.booleans(), min_size=12, max_size=12),
    steps_between=st.lists(st.integers(0, 12), min_size=12, max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_all_audio_comes_back_exactly_once_and_every_utterance_finishes_once(
    rate_hz: int, lengths: list[int], ends: list[bool], steps_between: list[int]
) -> None:
    timeline = make_timeline(rate_hz)
    said: list[Int16Array] = []
    steps: list[Step] = []
    num_frames = 0

    def advance() -> None:
        nonlocal num_frames
        num_frames += 1
        steps.append(
            timeline.step(frame_start_sample(num_frames, rate_hz) - timeline.position_sample)
        )

    for length, end, num_steps in zip(lengths, ends, steps_between, strict=False):
        said.append(push(timeline, length))
        if end:
            timeline.end("")
        for _ in range(num_steps):
            advance()
    timeline.close()
    while not timeline.drained:
        advance()
    played = [
        item.samples
        for step in steps
        for item in step.items
        if isinstance(item, PlayedAudio) and item.utterance_id
    ]
    np.testing.assert_array_equal(np.concatenate(played), np.concatenate(said))
    happened = events(steps)
    begun = [name for type_, _, name in happened if type_ is EventType.UTTERANCE_STARTED]
    finished = [name for type_, _, name in happened if type_ is EventType.UTTERANCE_FINISHED]
    assert begun == finished
    assert len(set(finished)) == len(finished)
    offsets = [offset for _, offset, _ in happened]
    assert offsets == sorted(offsets)


def test_frame_belongs_to_the_utterance_that_sounds_in_it_first() -> None:
    marks = FrameMarks(RATE_HZ)
    for start, length, name in [(0, 700, "a"), (700, 100, ""), (800, 100, "b")]:
        marks.record(
            PlayedAudio(
                media_offset_us=0,
                start_sample=start,
                samples=np.zeros(length, np.int16),
                utterance_id=name,
            )
        )
    assert [marks.take(frame) for frame in range(3)] == ["a", "a", ""]


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 44_101])
def test_marks_agree_with_frame_boundaries(rate_hz: int) -> None:
    marks = FrameMarks(rate_hz)
    start, end = frame_start_sample(7, rate_hz), frame_start_sample(9, rate_hz)
    marks.record(
        PlayedAudio(
            media_offset_us=0,
            start_sample=start,
            samples=np.zeros(end - start, np.int16),
            utterance_id="a",
        )
    )
    assert [frame for frame in range(20) if marks.take(frame)] == [7, 8]


def test_no_utterance_begins_before_the_hold_ends_and_one_that_plays_goes_on() -> None:
    """Between two gateways each hears of audio at another moment: neither begins anything."""
    timeline = make_timeline()
    first = push(timeline, 8 * FRAME, "a")
    before = step_frames(timeline, 1)
    timeline.hold_until_sample = 12 * FRAME
    timeline.end("a")
    second = push(timeline, 8 * FRAME, "b")
    steps = before + step_frames(timeline, 11)
    np.testing.assert_array_equal(audio_of(steps, "a"), first)
    assert len(audio_of(steps, "b")) == 0
    after = step_frames(timeline, 8)
    np.testing.assert_array_equal(audio_of(after, "b"), second)
    assert events(after)[0] == (EventType.UTTERANCE_STARTED, 12 * 40_000, "b")
