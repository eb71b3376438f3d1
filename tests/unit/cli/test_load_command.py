"""`parlante load` against fake stages: what it counts, and where it stops."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from parlante.cli import load
from parlante.cli.live_probe import LiveFigures
from parlante.cli.load_report import LoadStep, summarise
from parlante.cli.load_servers import Meters, StartedSuite, Suite, _batches
from parlante.cli.load_sessions import Outcome
from tests.fakes.renderer import FakeRenderer
from tests.fakes.small_gateway import small_gateway

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fake_suites(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Run small gateways in place of suites; gives the options of each renderer's."""
    options: dict[str, dict[str, Any]] = {"inprocess": {}, "triton": {}, "server": {}}

    @asynccontextmanager
    async def running(suite: Suite) -> AsyncIterator[StartedSuite]:
        async with small_gateway(**options[suite.name]) as gateway:
            yield StartedSuite(name=suite.name, target=gateway.target, ready_s=1.5)

    monkeypatch.setattr(load, "running_suite", running)
    return options


def test_load_compares_renderers_and_draws(
    parlante: Run,
    fake_suites: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How busy the machine is must not decide here.
    monkeypatch.setattr("parlante.cli.load_report.HELD_SHARE", 0.3)
    options = ("--renderers", "inprocess,triton", "--sessions", "1,2", "--seconds", "2")
    plot = tmp_path / "load.png"
    code, out, err = parlante("load", *options, "--late-ms", "5000", "--plot", plot, "--json")
    report = json.loads(out.splitlines()[-1])
    assert (code, err) == (0, "")
    assert report["sessions_on_time"] == 2
    assert 0 < report["first_frame_ms_p95"] < 5000
    assert 0 < report["frame_latency_ms_p95"] < 5000
    assert {name: found["sessions_on_time"] for name, found in report["renderers"].items()} == {
        "inprocess": 2,
        "triton": 2,
    }
    assert [step["sessions"] for step in report["steps"]] == [1, 2, 1, 2]
    with Image.open(plot) as picture:
        assert picture.size == (900, 360)


def test_load_counts_refused_sessions_and_ends_there(
    parlante: Run, fake_suites: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parlante.cli.load_report.HELD_SHARE", 0.3)
    fake_suites["server"] = {"max_sessions": 1}
    options = ("--server", "any:1", "--sessions", "1,3,4", "--seconds", "2", "--late-ms", "5000")
    _, out, _ = parlante("load", *options, "--json")
    report = json.loads(out.splitlines()[-1])
    assert report["sessions_on_time"] == 1
    assert [(step["sessions"], step["refused"]) for step in report["steps"]] == [(1, 0), (3, 2)]


def test_load_tells_that_a_slow_renderer_is_late(
    parlante: Run, fake_suites: dict[str, Any]
) -> None:
    fake_suites["inprocess"] = {"renderer": FakeRenderer(delay_s=0.15)}
    code, out, err = parlante("load", "--sessions", "1", "--seconds", "2", "--late-ms", "400")
    assert code == 0
    assert "inprocess: 0 sessions on time" in out
    assert "0 of 1 sessions on time" in err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--sessions", "2,1"),
        ("--sessions", "x"),
        ("--renderers", "gpu"),
        ("--seconds", "1"),
        ("--late-ms", "1"),
    ],
)
def test_load_refuses_wrong_options(parlante: Run, wrong: tuple[str, str]) -> None:
    assert parlante("load", *wrong)[0] == 2


def figures(latencies_ms: list[float], *, dropped: int = 0) -> Outcome:
    arrivals = tuple(40.0 * number for number in range(len(latencies_ms)))
    return Outcome(
        figures=LiveFigures(
            first_frame_ms=200.0,
            latencies_ms=tuple(latencies_ms),
            dropped=dropped,
            arrivals_ms=arrivals,
        )
    )


def step_of(renderer: str, *outcomes: Outcome) -> LoadStep:
    return LoadStep.of(renderer, outcomes, num_samples=64_000, late_ms=500)  # 100 frames


def test_a_session_is_held_with_99_frames_of_100_on_time() -> None:
    step = step_of(
        "x", figures([100.0] * 99 + [501.0]), figures([100.0] * 98), Outcome(refused=True)
    )
    assert (step.sessions, step.sessions_on_time, step.refused, step.failed) == (3, 1, 1, 0)
    assert step.on_time_share == 0.985
    assert step.frame_latency_ms_p50 == 100.0
    assert step.jitter_ms == 0.0


def test_a_failed_session_counts_as_lost_frames() -> None:
    step = step_of("x", figures([100.0] * 100), Outcome(reason="INTERNAL"))
    assert (step.failed, step.on_time_share) == (1, 0.5)


def test_outcomes_of_several_clients_make_one_step() -> None:
    """What percentiles need goes through JSON whole: they cannot be made of percentiles."""
    outcomes = [figures([100.0] * 99 + [350.5], dropped=2), figures([300.0] * 100)]
    outcomes += [Outcome(refused=True, reason="RENDERER_FULL"), Outcome(reason="INTERNAL")]
    told = [json.loads(json.dumps(outcome.to_json())) for outcome in outcomes]
    assert [Outcome.from_json(values) for values in told] == outcomes
    step = step_of("x", *map(Outcome.from_json, told))
    assert (step.frame_latency_ms_p50, step.frame_latency_ms_p99) == (300.0, 300.0)
    assert (step.refused, step.failed, step.dropped) == (1, 1, 2)


def test_summary_takes_the_best_renderer_at_the_most_it_held() -> None:
    good, bad = figures([100.0] * 100), figures([600.0] * 100)
    steps = [step_of("a", good), step_of("a", good, good), step_of("a", good, bad, bad)]
    steps += [step_of("b", bad)]
    report = summarise(steps, {"a": 1.0, "b": 2.0})
    assert report["sessions_on_time"] == 2
    assert report["renderers"]["b"]["sessions_on_time"] == 0


def test_batches_are_read_from_the_metrics(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"
    metrics.write_text("# TYPE x\nparlante_decoder_frames 129\nparlante_decoder_batches{} 1e2\n")
    assert _batches(metrics.as_uri()) == (129.0, 100.0)


async def test_rows_of_the_server_are_counted_between_two_looks(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics"

    def count(frames: int, batches: int) -> None:
        lines = (f"parlante_decoder_frames {frames}", f"parlante_decoder_batches {batches}", "")
        metrics.write_text("\n".join(lines))

    count(100, 100)
    async with Meters(StartedSuite(name="x", target="", metrics_url=metrics.as_uri())) as meters:
        count(500, 150)
    assert meters.usage.rows_per_batch == 8.0
    assert meters.usage.frames_per_s is not None
    assert meters.usage.frames_per_s > 0
