"""Figures of a load test: one step, and the summary of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from parlante.cli.load_sessions import Outcome
from parlante.types import FRAME_DURATION_US, MODEL_SAMPLE_RATE_HZ

__all__ = ["HELD_SHARE", "LoadStep", "line_of", "summarise"]

HELD_SHARE: Final = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStep:
    """What was measured with a number of sessions side by side; None = not known.

    Attributes:
        renderer: What was measured.
        sessions: Sessions that were opened.
        sessions_on_time: Those with at least 99 % of their frames on time.
        refused: Those that the server had no room for.
        failed: Those that ended with another error.
        on_time_share: Frames on time of all that should have come in the sessions let in.
        first_frame_ms_p50: Opening of a session to its first speaking frame.
        first_frame_ms_p95: The same.
        frame_latency_ms_p50: Sound sent to its frame received.
        frame_latency_ms_p95: The same.
        frame_latency_ms_p99: The same.
        jitter_ms: Standard deviation of the time between frames.
        dropped: Frames that the server dropped.
        cpu_cores: Processor time of the servers per second.
        rss_mb: Memory of the servers at the end.
        gpu_percent: Mean use of the first GPU.
        gpu_mb: Memory of the first GPU in use.
        rows_per_batch: Mean of the Triton server's decoder.
        frames_per_s: That it made.
    """

    renderer: str
    sessions: int
    sessions_on_time: int
    refused: int
    failed: int
    on_time_share: float
    first_frame_ms_p50: float | None
    first_frame_ms_p95: float | None
    frame_latency_ms_p50: float | None
    frame_latency_ms_p95: float | None
    frame_latency_ms_p99: float | None
    jitter_ms: float | None
    dropped: int
    cpu_cores: float | None = None
    rss_mb: float | None = None
    gpu_percent: float | None = None
    gpu_mb: float | None = None
    rows_per_batch: float | None = None
    frames_per_s: float | None = None

    @classmethod
    def of(
        cls,
        renderer: str,
        outcomes: Sequence[Outcome],
        *,
        num_samples: int,
        late_ms: float,
        **usage: float | None,
    ) -> LoadStep:
        """Sum up sessions.

        Args:
            renderer: What was measured.
            outcomes: One per session.
            num_samples: Speech of each session, at 16 kHz.
            late_ms: Sound sent to frame received, beyond which a frame is late.
            usage: The fields from `cpu_cores` on.
        """
        done = [outcome.figures for outcome in outcomes if outcome.figures is not None]
        due = num_samples * 1_000_000 // MODEL_SAMPLE_RATE_HZ // FRAME_DURATION_US
        on_time = [
            min(due, sum(latency <= late_ms for latency in figures.latencies_ms))
            for figures in done
        ]
        latencies = np.concatenate([np.zeros(0), *(figures.latencies_ms for figures in done)])
        first = np.array([figures.first_frame_ms for figures in done if figures.latencies_ms])
        intervals = np.concatenate(
            [np.zeros(0), *(np.diff(figures.arrivals_ms) for figures in done)]
        )
        refused = sum(outcome.refused for outcome in outcomes)
        let_in = len(outcomes) - refused
        return cls(
            renderer=renderer,
            sessions=len(outcomes),
            sessions_on_time=sum(number >= HELD_SHARE * due for number in on_time),
            refused=refused,
            failed=let_in - len(done),
            on_time_share=round(sum(on_time) / max(1, due * let_in), 4),
            first_frame_ms_p50=_percentile(first, 50),
            first_frame_ms_p95=_percentile(first, 95),
            frame_latency_ms_p50=_percentile(latencies, 50),
            frame_latency_ms_p95=_percentile(latencies, 95),
            frame_latency_ms_p99=_percentile(latencies, 99),
            jitter_ms=round(float(intervals.std()), 1) if len(intervals) else None,
            dropped=sum(figures.dropped for figures in done),
            **usage,
        )


def _percentile(values: Any, percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if len(values) else None


def line_of(step: LoadStep) -> str:
    """Give a step as one line for people."""

    def shown(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:.0f} {unit}"

    return (
        f"{step.renderer:>9}  {step.sessions_on_time} of {step.sessions} sessions on time"
        f" ({100 * step.on_time_share:.1f} % of frames, {step.refused} refused, {step.failed} "
        f"failed), first frame p95 {shown(step.first_frame_ms_p95, 'ms')}, latency p50 "
        f"{shown(step.frame_latency_ms_p50, 'ms')}, p95 {shown(step.frame_latency_ms_p95, 'ms')}, "
        f"jitter {shown(step.jitter_ms, 'ms')}, {step.dropped} dropped, "
        f"{'-' if step.cpu_cores is None else f'{step.cpu_cores:.2f}'} cores, "
        f"{shown(step.rss_mb, 'MB')}"
        + (f", {step.rows_per_batch:.2f} rows/batch" if step.rows_per_batch else "")
    )


def summarise(steps: Sequence[LoadStep], ready_s: dict[str, float]) -> dict[str, Any]:
    """Make the report of all steps; the best renderer's figures stand at its top."""
    renderers: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(step.renderer for step in steps):
        own = [step for step in steps if step.renderer == name]
        held = [step for step in own if step.sessions_on_time == step.sessions]
        best = held[-1] if held else own[0]
        renderers[name] = {
            "sessions_on_time": best.sessions if held else 0,
            "first_frame_ms_p95": best.first_frame_ms_p95,
            "frame_latency_ms_p95": best.frame_latency_ms_p95,
            "ready_s": round(ready_s.get(name, 0.0), 1),
        }
    top = max(renderers.values(), key=lambda found: found["sessions_on_time"])
    return {
        "sessions_on_time": top["sessions_on_time"],
        "first_frame_ms_p95": top["first_frame_ms_p95"],
        "frame_latency_ms_p95": top["frame_latency_ms_p95"],
        "renderers": renderers,
        "steps": [asdict(step) for step in steps],
    }
