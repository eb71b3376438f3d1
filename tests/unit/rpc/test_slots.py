"""Admission: so many at once, a clear refusal, everything given back."""

from __future__ import annotations

import pytest

from parlante.errors import Overloaded
from parlante.rpc.slots import Slots
from tests.fakes.metrics import points, read_metrics


def test_slots_are_given_back_after_an_error() -> None:
    slots = Slots(1, what="test")
    held = []

    def fail() -> None:
        with slots.hold():
            held.append(slots.num_held)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert held == [1]
    assert slots.num_held == 0


def test_one_too_many_is_refused_and_costs_nothing() -> None:
    slots = Slots(1, what="test", retry_after_ms=250)
    with slots.hold():
        with pytest.raises(Overloaded) as caught, slots.hold():
            pass
        assert slots.num_held == 1
    assert caught.value.retry_after_ms == 250
    assert caught.value.metadata == {"capacity": "1"}


def test_no_slots_at_all_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="capacity"):
        Slots(0, what="test")


def test_a_cordon_is_no_want_of_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autoscalers add what was refused: a cordoned replica made them start others in vain."""
    reader = read_metrics(monkeypatch)
    slots = Slots(1, what="test")
    slots.cordon(True)
    with pytest.raises(Overloaded, match="takes no new"), slots.hold():
        pass
    assert slots.counts.num_refused == 1
    assert [point.value for point in points(reader)["parlante.streams.refused"]] == [0]
    slots.cordon(False)
    with slots.hold(), pytest.raises(Overloaded), slots.hold():
        pass
    assert [point.value for point in points(reader)["parlante.streams.refused"]] == [1]
