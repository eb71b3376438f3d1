"""Credits, the send window, and which frames give way."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.credits import DropReason, FrameWindow, MotionQueue, PendingFrame, block_of
from parlante.errors import InvalidInput
from parlante.types import MOTION_DIM


def pending(*indexes: int) -> list[PendingFrame]:
    return [
        PendingFrame(
            frame_index=index, values=np.full(MOTION_DIM, index, np.float32), utterance_id=""
        )
        for index in indexes
    ]


def indexes(frames: list[PendingFrame]) -> list[int]:
    return [frame.frame_index for frame in frames]


def make_window(max_in_flight: int = 0, max_unsent: int = 8) -> FrameWindow:
    return FrameWindow(max_in_flight=max_in_flight, max_unsent=max_unsent)


def render(window: FrameWindow, num_frames: int) -> None:
    for _ in range(num_frames):
        window.rendered()


def test_without_credits_sending_frees_the_window() -> None:
    window = make_window(max_unsent=2)
    window.take(2)
    render(window, 2)
    assert (window.num_free, window.blocker()) == (0, DropReason.SLOW_READER)
    window.sent()
    assert window.num_free == 1


def test_with_credits_only_a_report_frees_the_window() -> None:
    window = make_window(max_in_flight=3)
    window.take(3)
    render(window, 3)
    for _ in range(3):
        window.sent()
    assert (window.num_free, window.is_starved) == (0, True)
    assert window.blocker() is DropReason.NO_CREDIT
    window.report(2)
    assert (window.num_free, window.is_starved) == (2, False)


def test_many_credits_do_not_widen_the_send_queue() -> None:
    window = make_window(max_in_flight=250, max_unsent=8)
    window.take(8)
    assert window.num_free == 0


def test_report_goes_never_back() -> None:
    window = make_window(max_in_flight=2)
    window.take(2)
    render(window, 2)
    window.sent()
    window.sent()
    window.report(2)
    window.report(1)
    assert window.num_free == 2


def test_frames_that_wait_for_the_renderer_are_not_blamed_on_the_client() -> None:
    window = make_window(max_unsent=4)
    window.take(4)
    assert (window.num_free, window.blocker()) == (0, DropReason.SLOW_RENDERER)
    render(window, 3)
    assert window.blocker() is DropReason.SLOW_READER


def test_credits_that_the_renderer_holds_are_not_blamed_on_the_client() -> None:
    window = make_window(max_in_flight=3)
    window.take(3)
    assert (window.is_starved, window.blocker()) == (True, DropReason.SLOW_RENDERER)
    render(window, 1)
    window.lost()
    window.take(1)
    assert window.blocker() is DropReason.SLOW_RENDERER
    render(window, 2)
    assert window.blocker() is DropReason.NO_CREDIT


@pytest.mark.parametrize("seq", [-1, 2])
def test_report_of_a_frame_that_does_not_exist_is_refused(seq: int) -> None:
    window = make_window(max_in_flight=2)
    window.take(1)
    with pytest.raises(InvalidInput) as refused:
        window.report(seq)
    assert refused.value.reason == "PLAYBACK_OUT_OF_RANGE"


def test_waived_credits_leave_the_send_queue() -> None:
    window = make_window(max_in_flight=1)
    window.take(1)
    window.waive_credits()
    assert (window.num_free, window.is_starved) == (7, False)


def test_queue_drops_the_oldest() -> None:
    queue = MotionQueue(4)
    for index in range(0, 8, 2):
        queue.put(pending(index, index + 1))
    assert indexes(queue.drop_excess(2)) == [0, 1, 2, 3]
    assert indexes(queue.take(10)) == [4, 5, 6, 7]


def test_queue_always_holds_a_whole_block() -> None:
    queue = MotionQueue(4)
    queue.put(pending(*range(25)))
    assert queue.drop_excess(2) == []


def test_queue_drops_late_frames() -> None:
    queue = MotionQueue(4)
    queue.put(pending(1, 2, 3))
    late = queue.drop_late(3)
    assert indexes(late) == [1, 2]
    queue.put_back(late[-1])
    assert indexes(queue.take(10)) == [2, 3]


def test_taken_frames_are_consecutive() -> None:
    queue = MotionQueue(4)
    queue.put(pending(1, 2, 5))
    assert indexes(queue.take(10)) == [1, 2]
    assert indexes(queue.take(10)) == [5]


def test_block_joins_frames() -> None:
    block = block_of(pending(3, 4))
    assert block.start_frame == 3
    assert block.values[:, 0].tolist() == [3, 4]


def test_report_may_come_before_its_frame_counts_as_sent() -> None:
    window = make_window(max_in_flight=1)
    window.take(1)
    window.report(1)
    assert not window.is_starved
