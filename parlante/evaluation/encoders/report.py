"""The report on the encoders of motion: as data, as a page with pictures, and as a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from parlante.evaluation.encoders.closed_loop import LOOP_MEASURES, Agreement, LoopScores
from parlante.evaluation.encoders.heads import Correctness, Leaks, Recognition
from parlante.evaluation.report import plain_json
from parlante.evaluation.sheets import Cell, draw_sheet

__all__ = ["draw_strips", "make_encoders_report", "summary_lines", "write_encoders_page"]

REPORT_VERSION: Final = 1
LOOP_PATHS: Final = ("tracked", "read", "driven", "driven_with")
_COURSES: Final = ("driver", "driven by landmarks", "driven with encoders")
_TILE_PX: Final = 200


def make_encoders_report(
    digest: str,
    errors: Mapping[str, tuple[Correctness, Correctness | None]] | None,
    leaks: Leaks | None,
    people: Recognition | None,
    loops: Mapping[str, LoopScores] | None,
) -> dict[str, Any]:
    """Put everything into one JSON object.

    Keys: ``version``; ``weights``, their digest; ``heads`` with ``errors`` by output, ``leaks`` and
    ``people``; ``photos`` with ``mean`` by path of `LOOP_PATHS` and measure, and ``by_portrait``.
    """
    report: dict[str, Any] = {"version": REPORT_VERSION, "weights": digest}
    if errors is not None and leaks is not None and people is not None:
        report["heads"] = {
            "errors": {
                name: {"encoders": asdict(ours), "tracker": theirs and asdict(theirs)}
                for name, (ours, theirs) in errors.items()
            },
            "leaks": asdict(leaks),
            "people": asdict(people),
        }
    if loops:
        report["photos"] = {
            "mean": {
                path: _means([getattr(s, path) for s in loops.values()]) for path in LOOP_PATHS
            },
            "by_portrait": {
                name: {
                    "identity": scores.identity,
                    **{
                        path: {k: asdict(v) for k, v in getattr(scores, path).items()}
                        for path in LOOP_PATHS
                    },
                }
                for name, scores in loops.items()
            },
        }
    plain: dict[str, Any] = plain_json(report)
    return plain


def _means(rows: Sequence[Mapping[str, Agreement]]) -> dict[str, dict[str, float]]:
    fields = ("correlation", "gain", "error")
    return {
        name: {key: float(np.mean([getattr(row[name], key) for row in rows])) for key in fields}
        for name in LOOP_MEASURES
    }


def summary_lines(report: dict[str, Any]) -> Iterator[str]:
    """The tables, as text that is Markdown as well."""
    if "heads" in report:
        yield from _head_lines(report["heads"])
    if "photos" in report:
        yield from _photo_lines(report["photos"])


def _head_lines(heads: dict[str, Any]) -> Iterator[str]:
    yield "| held-out heads | error | correlation x gain | tracker's error | correlation x gain |"
    yield "|---|---|---|---|---|"
    for name, row in heads["errors"].items():
        cells = []
        for who in ("encoders", "tracker"):
            found = row[who]
            cells += (
                [f"{found['error']:.3f}", f"{found['correlation']:.3f} x{found['gain']:.2f}"]
                if found
                else ["", ""]
            )
        yield f"| {name} | " + " | ".join(cells) + " |"
    leaks, people = heads["leaks"], heads["people"]
    yield ""
    yield (
        f"When only the expression changes, the pose moves by {leaks['pose_deg']:.2f} degrees; "
        f"when only the head turns, the gaze by {leaks['gaze_deg']:.2f} degrees and the channels "
        f"by {leaks['channels']:.3f} (by {leaks['channels_moved']:.3f} when the expression does); "
        f"when only the eyes turn, channels but the lids' by {leaks['channels_by_gaze']:.3f}."
    )
    yield (
        f"Another picture of the same head is found in {people['found']:.1%} (chance "
        f"{people['chance']:.1%}; by the code of the dynamics {people['found_by_dynamics']:.1%}); "
        f"likeness {people['likeness_same']:.2f} within heads, {people['likeness_other']:.2f} "
        "between."
    )
    yield ""


def _photo_lines(photos: dict[str, Any]) -> Iterator[str]:
    yield f"{len(photos['by_portrait'])} portraits, correlation x gain with what was put in:"
    yield ""
    yield "| | tracker sees | encoders see | driven by landmarks | driven with encoders |"
    yield "|---|---|---|---|---|"
    for name in LOOP_MEASURES:
        cells = [
            f"{row['correlation']:.3f} x{row['gain']:.2f}"
            for row in (photos["mean"][path][name] for path in LOOP_PATHS)
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"
    likeness = [row["identity"] for row in photos["by_portrait"].values()]
    yield ""
    yield f"Identity codes of frames of one portrait: likeness {np.mean(likeness):.2f}."
    yield ""


def draw_strips(loops: Mapping[str, LoopScores], folder: Path) -> list[Path]:
    """Driving frames beside driven ones: a PNG for each portrait."""
    paths = []
    for name, scores in loops.items():
        rows = [
            [Cell(label if column == 0 else "", rgb) for column, rgb in enumerate(strip)]
            for label, strip in zip(_COURSES, scores.strips, strict=True)
        ]
        path = folder / f"loop-{name}.png"
        draw_sheet(name, rows, path, tile_px=_TILE_PX)
        paths.append(path)
    return paths


def write_encoders_page(report: dict[str, Any], path: Path, pictures: Sequence[Path]) -> None:
    """Write the report as Markdown."""
    lines = ["# Encoders of motion", "", f"Weights: `{report['weights'][:12]}`", ""]
    lines += summary_lines(report)
    lines += [f"![{picture.stem}]({picture.name})" for picture in pictures]
    path.write_text("\n".join(lines) + "\n", "utf-8")
