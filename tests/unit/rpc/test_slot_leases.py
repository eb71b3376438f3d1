"""Leases on slots, against a model: whatever comes in whatever order, never too many."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from parlante.errors import Overloaded
from parlante.rpc.slots import Slots

CAPACITY = 3
TTL_S = 5.0


class SlotMachine(RuleBasedStateMachine):
    """Streams, leases, time and operators, in any order."""

    streams = Bundle("streams")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.slots = Slots(CAPACITY, what="test", now_s=lambda: self.now_s)
        self.open: set[int] = set()
        self.ends_s: dict[str, float] = {}
        self.num_refused = 0
        self.num_made = 0
        self.stacks: dict[int, ExitStack] = {}

    def _live(self) -> set[str]:
        return {key for key, end_s in self.ends_s.items() if end_s > self.now_s}

    def _is_full(self) -> bool:
        return self.slots.cordoned or len(self.open) + len(self._live()) >= CAPACITY

    def _hold(self, lease_id: str) -> int | None:
        stack = ExitStack()
        try:
            stack.enter_context(self.slots.hold(lease_id))
        except Overloaded:
            return None
        self.num_made += 1
        self.open.add(self.num_made)
        self.stacks[self.num_made] = stack
        return self.num_made

    @rule(target=leases)
    def lease_new(self) -> object:
        self.num_made += 1
        name = f"lease-{self.num_made}"
        full = self._is_full()
        try:
            self.slots.lease(name, TTL_S)
        except Overloaded:
            assert full
            self.num_refused += 1
            return multiple()
        assert not full
        self.ends_s[name] = self.now_s + TTL_S
        return name

    @rule(name=leases)
    def lease_again(self, name: str) -> None:
        full = name not in self._live() and self._is_full()
        try:
            self.slots.lease(name, TTL_S)
        except Overloaded:
            assert full
            self.num_refused += 1
        else:
            assert not full
            self.ends_s[name] = self.now_s + TTL_S

    @rule(target=streams)
    def open_without_lease(self) -> object:
        full = self._is_full()
        stream = self._hold("")
        assert (stream is None) == full
        self.num_refused += stream is None
        return multiple() if stream is None else stream

    @rule(target=streams, name=leases)
    def open_with_lease(self, name: str) -> object:
        full = name not in self._live() and self._is_full()
        stream = self._hold(name)
        assert (stream is None) == full
        self.num_refused += stream is None
        self.ends_s.pop(name, None)
        return multiple() if stream is None else stream

    @rule(stream=streams)
    def close(self, stream: int) -> None:
        if stream in self.open:
            self.open.remove(stream)
            self.stacks.pop(stream).close()

    @rule(name=leases)
    def release(self, name: str) -> None:
        self.slots.release(name)
        self.ends_s.pop(name, None)

    @rule(duration_s=st.floats(0.0, 2 * TTL_S))
    def wait(self, duration_s: float) -> None:
        self.now_s += duration_s

    @rule(cordoned=st.booleans())
    def cordon(self, cordoned: bool) -> None:
        self.slots.cordon(cordoned)

    @invariant()
    def counts_are_those_of_the_model(self) -> None:
        counts = self.slots.counts
        assert counts.num_held == len(self.open)
        assert counts.num_leased == len(self._live())
        assert counts.num_held + counts.num_leased <= CAPACITY
        assert counts.num_refused == self.num_refused

    def teardown(self) -> None:
        for stack in self.stacks.values():
            stack.close()
        assert self.slots.num_held == 0


SlotMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSlotMachine = SlotMachine.TestCase
