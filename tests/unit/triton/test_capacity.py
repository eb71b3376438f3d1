"""Who gets in: measured speed, late frames."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from parlante.errors import Overloaded
from services.renderer.capacity import Admission, RateMeter, Struggle


class Clock:
    """A clock that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_admission_lets_in_what_the_measured_speed_carries(clock: Clock) -> None:
    admission = Admission(lambda: 120.0, Struggle(clock))
    assert admission.capacity == 4  # 120 * 0.85 / 25
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(admission.hold())
        with pytest.raises(Overloaded) as caught, admission.hold():
            pass
        assert (caught.value.reason, caught.value.metadata) == ("RENDERER_FULL", {"capacity": "4"})
        assert caught.value.retry_after_ms
    with admission.hold():
        assert admission.num_held == 1


def test_admission_always_tries_one(clock: Clock) -> None:
    with Admission(lambda: 0.0, Struggle(clock)).hold():
        pass


def test_late_frames_keep_others_out_until_they_are_long_ago(clock: Clock) -> None:
    struggle = Struggle(clock)
    admission = Admission(lambda: 1000.0, struggle)
    with admission.hold():
        for number in range(50):
            struggle.note(late=number % 10 == 0)
        with pytest.raises(Overloaded, match="late"), admission.hold():
            pass
        clock.now_s += 5
        with admission.hold():
            pass


def test_one_late_frame_is_no_struggle(clock: Clock) -> None:
    struggle = Struggle(clock)
    struggle.note(late=True)
    assert not struggle.is_on


def test_rate_falls_while_frames_wait_and_returns_later(clock: Clock) -> None:
    meter = RateMeter(clock)
    meter.calibrate(200.0)
    for _ in range(10):
        meter.note(50, 1.0, saturated=True)
    assert 50 <= meter.rate_hz < 60
    clock.now_s += 60
    assert meter.rate_hz == 200.0


def test_rate_does_not_fall_when_there_is_little_to_do(clock: Clock) -> None:
    meter = RateMeter(clock)
    meter.calibrate(200.0)
    for _ in range(10):
        meter.note(50, 1.0, saturated=False)
    assert meter.rate_hz == 200.0


def test_rate_rises_when_more_is_made_than_was_measured(clock: Clock) -> None:
    """A calibration on a busy machine must not shut others out for ever."""
    meter = RateMeter(clock)
    meter.calibrate(30.0)
    for _ in range(20):
        meter.note(120, 1.0, saturated=False)
    assert meter.rate_hz > 110
