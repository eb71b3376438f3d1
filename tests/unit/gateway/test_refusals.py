"""Sessions that do not start are counted, whatever they have found no slot of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.stages import Stages
from parlante import telemetry
from parlante.client import ParlanteClient
from parlante.errors import Overloaded, ParlanteError, Unavailable
from tests.fakes.encoder import portrait_bytes
from tests.fakes.metrics import counts, points
from tests.fakes.small_gateway import SmallGateway, small_gateway

REASON = telemetry.ATTRIBUTE_REASON
REFUSED = "parlante.sessions.refused"


def _started(reader: InMemoryMetricReader) -> float:
    (point,) = points(reader)["parlante.sessions.started"]
    return float(point.value)


async def _open(gateway: SmallGateway) -> None:
    async with (
        ParlanteClient(gateway.target) as client,
        client.converse(portrait=portrait_bytes()) as session,
    ):
        await session.finish()
        async for _ in session:
            pass


async def test_series_are_there_before_anything_has_happened(reader: InMemoryMetricReader) -> None:
    async with small_gateway():
        assert set(counts(reader, REFUSED, REASON).values()) == {0}
        assert _started(reader) == 0
        assert counts(reader, "parlante.frames.dropped", REASON)["slow_renderer"] == 0
        assert [point.value for point in points(reader)["parlante.streams.refused"]]


@pytest.mark.parametrize(
    "refusal",
    [
        Overloaded("no slot", reason="NO_FREE_SLOT"),
        Unavailable("nobody there", reason="STAGE_UNAVAILABLE"),
    ],
)
async def test_a_session_that_a_stage_has_no_room_for_is_counted(
    refusal: ParlanteError, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def full(self: Stages, avatar_key: str, *, frames: bool) -> AsyncIterator[Stages]:
        raise refusal
        yield self

    async with small_gateway() as gateway:
        await _open(gateway)
        with monkeypatch.context() as patch:
            patch.setattr(Stages, "admitted", full)
            with pytest.raises(type(refusal)):
                await _open(gateway)
    assert counts(reader, REFUSED, REASON)[refusal.reason] == 1
    assert _started(reader) == 1


async def test_a_session_that_is_lost_later_is_no_refusal(reader: InMemoryMetricReader) -> None:
    async with small_gateway() as gateway:
        gateway.motion.error, gateway.motion.fail_at_frame = Unavailable("gone"), 0
        with pytest.raises(Unavailable):
            await _open(gateway)
    assert set(counts(reader, REFUSED, REASON).values()) == {0}
    assert _started(reader) == 1
