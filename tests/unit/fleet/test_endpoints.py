"""Targets, lists and DNS."""

from __future__ import annotations

import pytest

from parlante.errors import InvalidInput
from parlante.fleet.endpoints import DnsDiscovery, StaticDiscovery, check_target, open_discovery
from tests.fakes.wire import eventually


def test_a_list_of_addresses_is_what_it_says() -> None:
    discovery = open_discovery("a:1, b:2,[::1]:3")
    assert isinstance(discovery, StaticDiscovery)
    assert {item.address for item in discovery.known.endpoints} == {"a:1", "b:2", "[::1]:3"}


@pytest.mark.parametrize(
    "target", ["", "a", "a:1,", "dns:///a", "dns:a:1", "k8s:///a", "http://a:1"]
)
def test_a_malformed_target_is_refused(target: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_target(target)
    assert refused.value.reason == "BAD_SETTING"


async def test_new_addresses_of_a_name_are_found_and_lost_answers_change_nothing() -> None:
    answers: list[frozenset[str] | OSError] = [
        frozenset({"10.0.0.1:5"}),
        OSError("no resolver"),
        frozenset({"10.0.0.1:5", "10.0.0.2:5"}),
    ]
    seen = []

    async def resolve(host: str, port: int) -> frozenset[str]:
        seen.append((host, port))
        answer = answers[min(len(seen) - 1, len(answers) - 1)]
        if isinstance(answer, OSError):
            raise answer
        return answer

    discovery = DnsDiscovery("motion", 5, interval_s=0.01, resolve=resolve)
    await discovery.start()
    try:
        assert len(discovery.known.endpoints) == 1
        changed = discovery.known.changed
        await eventually(lambda: len(discovery.known.endpoints) == 2)
        assert changed.is_set()
        assert seen[0] == ("motion", 5)
    finally:
        await discovery.aclose()


async def test_a_real_name_resolves() -> None:
    discovery = open_discovery("dns:///localhost:50052")
    await discovery.start()
    try:
        assert "127.0.0.1:50052" in {item.address for item in discovery.known.endpoints}
    finally:
        await discovery.aclose()
