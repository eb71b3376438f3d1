"""Controls that wait for their time."""

from __future__ import annotations

import pytest

from gateway.steering import MAX_WAITING, SteeringQueue
from parlante.errors import InvalidInput
from parlante.types import Controls

RATE_HZ = 250  # a frame has 10 samples


def controls(yaw: float) -> Controls:
    return Controls(gaze_yaw_rad=yaw)


def test_controls_come_out_when_due() -> None:
    queue = SteeringQueue(RATE_HZ)
    queue.put(20, controls(0.2))
    queue.put(10, controls(0.1))
    assert queue.take_due(99) is None
    assert queue.take_due(100) == controls(0.1)
    assert queue.take_due(1000) == controls(0.2)
    assert queue.take_due(2000) is None


def test_last_writer_wins_at_equal_times() -> None:
    queue = SteeringQueue(RATE_HZ)
    queue.put(10, controls(0.1))
    queue.put(10, controls(0.3))
    assert queue.take_due(100) == controls(0.3)


def test_waiting_controls_are_bounded() -> None:
    queue = SteeringQueue(RATE_HZ)
    for index in range(MAX_WAITING):
        assert queue.full_until_sample is None
        queue.put(10 + index, controls(0.0))
    assert queue.full_until_sample == 100
    with pytest.raises(InvalidInput) as refused:
        queue.put(0, controls(0.0))
    assert refused.value.reason == "TOO_MANY_CONTROLS"
    queue.take_due(100)
    assert queue.full_until_sample is None


def test_controls_at_equal_times_take_one_place() -> None:
    queue = SteeringQueue(RATE_HZ)
    for index in range(2 * MAX_WAITING):
        queue.put(10, controls(index / 1000))
    queue.put(5, controls(0.1))
    assert queue.take_due(50) == controls(0.1)
    assert queue.take_due(100) == controls((2 * MAX_WAITING - 1) / 1000)


def test_controls_wait_for_the_audio_before_them() -> None:
    queue = SteeringQueue(RATE_HZ)
    queue.put(0, controls(0.1), behind_sample=101)
    assert queue.take_due(109) is None
    assert queue.take_due(110) == controls(0.1)


def test_controls_move_up_when_audio_before_them_is_dropped() -> None:
    queue = SteeringQueue(RATE_HZ)
    queue.put(0, controls(0.1), behind_sample=100)
    queue.put(0, controls(0.2), behind_sample=300)
    queue.put(15, controls(0.3), behind_sample=300)  # at its own time, however little is left
    queue.cut([(20, 60), (200, 320)])
    assert queue.take_due(59) is None
    assert queue.take_due(60) == controls(0.1)
    assert queue.take_due(149) is None
    assert queue.take_due(160) == controls(0.3)


def test_last_writer_wins_when_audio_between_them_is_dropped() -> None:
    queue = SteeringQueue(RATE_HZ)
    queue.put(0, controls(0.1), behind_sample=500)
    queue.cut([(100, 500)])
    queue.put(0, controls(0.2), behind_sample=100)
    assert queue.take_due(100) == controls(0.2)
    assert queue.take_due(1000) is None
