"""Controls that wait for their time."""

from __future__ import annotations

import pytest

from gateway.steering import MAX_WAITING, SteeringQueue
from parlante.errors import InvalidInput
from parlante.types import Controls


def controls(yaw: float) -> Controls:
    return Controls(gaze_yaw_rad=yaw)


def test_controls_come_out_when_due() -> None:
    queue = SteeringQueue()
    queue.put(200, controls(0.2))
    queue.put(100, controls(0.1))
    assert queue.take_due(99) is None
    assert queue.take_due(100) == controls(0.1)
    assert queue.take_due(1000) == controls(0.2)
    assert queue.take_due(2000) is None


def test_last_writer_wins_at_equal_times() -> None:
    queue = SteeringQueue()
    queue.put(100, controls(0.1))
    queue.put(100, controls(0.3))
    assert queue.take_due(100) == controls(0.3)


def test_waiting_controls_are_bounded() -> None:
    queue = SteeringQueue()
    for index in range(MAX_WAITING):
        assert queue.full_until_sample is None
        queue.put(100 + index, controls(0.0))
    assert queue.full_until_sample == 100
    with pytest.raises(InvalidInput) as refused:
        queue.put(0, controls(0.0))
    assert refused.value.reason == "TOO_MANY_CONTROLS"
    queue.take_due(100)
    assert queue.full_until_sample is None


def test_controls_at_equal_times_take_one_place() -> None:
    queue = SteeringQueue()
    for index in range(2 * MAX_WAITING):
        queue.put(100, controls(index / 1000))
    queue.put(50, controls(0.1))
    assert queue.take_due(50) == controls(0.1)
    assert queue.take_due(100) == controls((2 * MAX_WAITING - 1) / 1000)
