"""Curves of a load test: frames on time and latency against sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parlante.cli.load_report import HELD_SHARE, LoadStep

__all__ = ["draw_steps"]


def draw_steps(steps: Sequence[LoadStep], path: Path) -> None:
    """Draw all renderers into one PNG."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    share, latency = figure.subplots(1, 2)
    for name in dict.fromkeys(step.renderer for step in steps):
        own = [step for step in steps if step.renderer == name]
        sessions = [step.sessions for step in own]
        share.plot(sessions, [100 * step.on_time_share for step in own], "o-", label=name)
        (line,) = latency.plot(
            sessions,
            [_or_nan(step.frame_latency_ms_p95) for step in own],
            "o-",
            label=f"{name} p95",
        )
        latency.plot(
            sessions,
            [_or_nan(step.frame_latency_ms_p50) for step in own],
            ":",
            color=line.get_color(),
            label=f"{name} p50",
        )
    share.axhline(100 * HELD_SHARE, color="#888888", linewidth=0.8)
    share.set_ylabel("frames on time, %")
    latency.set_ylabel("sound sent to frame received, ms")
    for axes in (share, latency):
        axes.set_xlabel("live sessions")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
