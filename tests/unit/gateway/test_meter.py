"""What a session tells the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.values import EndUtterance, Listening, Pacing
from parlante import telemetry
from tests.fakes.metrics import points


async def test_frames_and_times_are_counted(converse: Any, reader: InMemoryMetricReader) -> None:
    async with converse() as c:
        await c.run_ms(200)
        await c.say(400, "a")
        await c.send(EndUtterance())
        await c.run_ms(800)
        got = points(reader)
        assert got["parlante.frames.sent"][0].value == len(c.frames)
        interval = got["parlante.frame.interval"][0]
        assert interval.sum / interval.count == pytest.approx(0.04)
        first = got["parlante.first_frame.duration"][0]
        assert (first.count, first.sum) == (1, pytest.approx(0.04, abs=0.01))
        assert got["parlante.frame.e2e_latency"][0].max < 0.05


async def test_drops_are_counted_by_reason(converse: Any, reader: InMemoryMetricReader) -> None:
    async with converse(max_frames_in_flight=2) as c:
        await c.run_ms(1000)
        (dropped,) = points(reader)["parlante.frames.dropped"]
        assert dropped.attributes == {telemetry.ATTRIBUTE_REASON: "no_credit"}
        assert dropped.value == pytest.approx(20, abs=3)


async def test_dropped_listening_audio_is_counted(
    converse: Any, reader: InMemoryMetricReader
) -> None:
    async with converse() as c:
        await c.run_ms(400)
        for _ in range(4):
            await c.send(Listening(samples=np.ones(1600, np.int16)))
        (dropped,) = points(reader)["parlante.listening.dropped"]
        assert dropped.value == pytest.approx(0.1)


async def test_stages_are_timed(converse: Any, reader: InMemoryMetricReader) -> None:
    async with converse() as c:
        await c.run_ms(400)
        timed = {
            point.attributes[telemetry.ATTRIBUTE_STAGE]: point.count
            for point in points(reader)["parlante.stage.duration"]
        }
        assert timed == {"encoder": 1, "motion": len(c.frames), "renderer": len(c.frames)}


async def test_a_burst_is_neither_late_nor_early(
    converse: Any, reader: InMemoryMetricReader
) -> None:
    """Offline jobs paged for late frames when slow, and recorded negative latencies when fast."""
    async with converse(pacing=Pacing.BURST) as c:
        await c.say(400, "a")
        await c.half_close()
        await c.task
        got = points(reader)
        assert got["parlante.frames.sent"][0].value == len(c.frames) == 10
        live_only = ("frame.e2e_latency", "frame.interval", "first_frame.duration")
        assert not {f"parlante.{name}" for name in live_only} & got.keys()
        (timed,) = got["parlante.stage.duration"]
        assert timed.attributes == {telemetry.ATTRIBUTE_STAGE: "encoder"}
