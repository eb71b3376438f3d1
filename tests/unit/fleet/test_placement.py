"""Where streams go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlante.errors import Overloaded
from parlante.fleet.placement import Candidate, favourites, in_order, no_slot
from tests.unit.fleet.placement_simulation import simulate

ADDRESSES = [f"10.0.0.{n}:50053" for n in range(16)]


def _candidate(address: str, num_used: int = 0, **fields: object) -> Candidate:
    return Candidate(address=address, capacity=8, num_used=num_used, **fields)  # type: ignore[arg-type]


def test_nobody_is_refused_at_70_percent_and_most_find_their_latents() -> None:
    outcome = simulate(load=0.7)
    assert outcome.refused == 0.0
    assert outcome.hits >= 0.75


def test_more_than_there_are_slots_is_refused_and_the_rest_is_used() -> None:
    outcome = simulate(load=2.0, num_sessions=3_000)
    assert 0.4 < outcome.refused < 0.6


@given(st.text(min_size=1, max_size=64), st.sampled_from(ADDRESSES))
def test_a_replica_that_goes_moves_its_own_keys_only(key: str, gone: str) -> None:
    before = favourites(key, ADDRESSES, 2)
    after = favourites(key, [one for one in ADDRESSES if one != gone], 2)
    if gone not in before:
        assert after == before
    else:
        assert [one for one in before if one != gone] == [one for one in after if one in before]


def test_favourites_come_first_as_long_as_they_have_room() -> None:
    first, second = favourites("anna", ADDRESSES, 2)
    free = [_candidate(address, 3) for address in ADDRESSES]
    assert [item.address for item in in_order("anna", free)[:2]] == [first, second]
    full = [_candidate(address, 8 if address == first else 3) for address in ADDRESSES]
    order = [item.address for item in in_order("anna", full)]
    assert (order[0], order[-1]) == (second, first)


def test_one_popular_avatar_does_not_fill_a_replica_while_others_idle() -> None:
    used = dict.fromkeys(ADDRESSES[:4], 0)
    first, second = favourites("anna", used, 2)
    for number in range(24):
        loads = [_candidate(address, num_used) for address, num_used in used.items()]
        used[in_order("anna", loads)[0].address] += 1
        if number == 5:
            assert used[first] == 6  # until then its latents are worth more
        if number == 11:
            assert used[second] == 6
    assert min(used.values()) >= 4


def test_the_least_loaded_takes_it_when_both_favourites_are_full() -> None:
    busy = set(favourites("anna", ADDRESSES, 2))
    idle = next(address for address in ADDRESSES if address not in busy)
    loads = [
        _candidate(address, 8 if address in busy else 1 if address == idle else 5)
        for address in ADDRESSES
    ]
    assert in_order("anna", loads)[0].address == idle


def test_without_a_key_the_own_zone_comes_first_until_it_is_nearly_full() -> None:
    near, far = _candidate("a:1", 5, is_near=True), _candidate("b:1", 0, is_near=False)
    assert in_order("", [far, near])[0] is near
    fuller = _candidate("a:1", 7, is_near=True)
    assert in_order("", [far, fuller])[0] is far


def test_a_suspect_comes_after_the_others() -> None:
    suspect, busy = _candidate("a:1", 0, is_suspect=True), _candidate("b:1", 7)
    assert in_order("", [suspect, busy]) == [busy, suspect]


def test_a_refusal_tells_the_shortest_wait() -> None:
    error = no_slot(
        "motion", [Overloaded("x", retry_after_ms=900), Overloaded("y", retry_after_ms=300)]
    )
    assert (error.retry_after_ms, error.metadata["stage"]) == (300, "motion")
