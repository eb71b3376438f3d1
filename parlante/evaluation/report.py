"""The report: values beside those of people, as data, as a page and as a few lines."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from parlante.evaluation.motion import Judgement, Values, pool
from parlante.evaluation.reference import REFERENCES, Reference
from parlante.evaluation.sync import SyncModel

__all__ = ["REPORT_VERSION", "make_report", "plain_json", "table_lines", "write_markdown"]

REPORT_VERSION: Final = 1
_SIGNIFICANT: Final = 5
_HEADINGS: Final = ("measure", "here", "control", "VASA-1", "people", "range", "")


def make_report(
    judgements: list[Judgement],
    sync_model: SyncModel,
    *,
    block_frames: int,
    refused: dict[str, str],
) -> dict[str, Any]:
    """Put everything into one JSON object.

    Keys: ``version``; ``pooled`` and ``control``, by the names of `REFERENCES` and some more;
    ``table``, a row per line of the printed table with its ``verdict``; ``videos``, the same
    values per video with what cannot be pooled; ``refused``, videos that could not be used and
    why; ``sync_model`` and ``block_frames``. Values without data are null.
    """
    values, controls = pool(judgements)
    report = {
        "version": REPORT_VERSION,
        "pooled": values,
        "control": controls,
        "table": [_row(reference, values, controls) for reference in REFERENCES],
        "videos": [_video(judgement) for judgement in judgements],
        "refused": refused,
        "sync_model": {
            "source": sync_model.source,
            "seconds": sync_model.seconds,
            "held_out": sync_model.held_out,
        },
        "block_frames": block_frames,
    }
    plain: dict[str, Any] = plain_json(report)
    return plain


def table_lines(report: dict[str, Any]) -> list[str]:
    """Give facts and table for a terminal."""
    rows = [_HEADINGS, *_cells(report)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADINGS))]
    return list(_facts(report)) + [
        "  ".join(
            cell.ljust(width) if i in (0, len(_HEADINGS) - 1) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def write_markdown(report: dict[str, Any], path: Path, pictures: Sequence[Path]) -> None:
    """Write the report as a page beside its pictures."""
    lines = ["# Motion of talking faces", ""]
    lines += [f"- {line}" for line in _facts(report)]
    lines += ["", "| " + " | ".join(_HEADINGS) + " |", "|---" * len(_HEADINGS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in _cells(report)]
    notes = [f"- {row['label']}: {row['note']}" for row in report["table"] if row["note"]]
    lines += ["", *notes, "", "## Videos", ""]
    for video in report["videos"]:
        lines += _about_video(video)
    lines += [f"![{picture.stem}]({picture.name})\n" for picture in pictures]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _facts(report: dict[str, Any]) -> Iterator[str]:
    pooled = report["pooled"]
    yield (
        f"{len(report['videos'])} video(s), {pooled['seconds']:.1f} s; "
        f"{pooled['bilabials']:.0f} P/B/M, {pooled['silent_frames']:.0f} silent frames, "
        f"{pooled['pauses']:.0f} ends of speech, after {pooled['pauses_never_shut']:.0f} of which "
        "the mouth stays open"
    )
    yield "control: the face shifted in time, or the sound where it is about sound"
    model = report["sync_model"]
    yield f"sync model: {model['source']}, {model['seconds'] / 60:.0f} min"
    for name, why in report["refused"].items():
        yield f"not judged: {name}: {why}"


def _about_video(video: dict[str, Any]) -> list[str]:
    values = video["values"]
    open_ones = [c for c in video["closures"] if not c["shut"]]
    lines = [
        f"### {video['name']}",
        "",
        f"- {video['seconds']:.1f} s, {video['source_fps']:.2f} frames/s, "
        f"face lost in {video['source_frames_lost']} of {video['source_frames']} frames",
        f"- phones: {video['phones_from']}" + (f"; {video['note']}" if video["note"] else ""),
    ]
    if video["words"]:
        lines.append(f"- words: {video['words']}")
    if video["closures"]:
        lines.append(
            f"- {len(video['closures'])} P/B/M, {len(video['closures']) - len(open_ones)} shut; "
            "open: " + ", ".join(f"{c['symbol']} {c['start_s']:.2f} s" for c in open_ones)
        )
    sync = [f"{name} {_format(row['correlation'], 2)}" for name, row in video["sync"].items()]
    lines.append(f"- sync: {', '.join(sync)}; lag {_format(values['sync_lag_ms'], 0)} ms")
    return [*lines, ""]


def _video(judgement: Judgement) -> dict[str, Any]:
    values, controls = pool([judgement])
    curves, silence = judgement.curves, judgement.silence
    return {
        "name": judgement.name,
        "seconds": curves.seconds,
        "source_fps": curves.source_fps,
        "source_frames": curves.source_frames,
        "source_frames_lost": curves.source_frames_lost,
        "phones_from": judgement.spoken.origin,
        "words": judgement.spoken.words,
        "note": judgement.spoken.note,
        "values": values,
        "control": controls,
        "closures": [asdict(closure) for closure in judgement.closures],
        "shut_delays_ms": list(silence.delays_ms),
        "sync": {name: asdict(score) for name, score in judgement.sync.items()},
        "head_sound": judgement.head_sound,
        "seams": judgement.seams,
    }


def _row(reference: Reference, values: Values, controls: Values) -> dict[str, Any]:
    value = values.get(reference.key)
    row = asdict(reference) | {"value": value, "control": controls.get(reference.key)}
    return row | {"verdict": reference.verdict(value)}


def _cells(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in report["table"]:
        digits = row["decimals"]
        numbers = (_format(row[key], digits) for key in ("value", "control", "vasa", "people"))
        verdict = row["verdict"]
        mark = {"": "", "inside": "inside"}.get(verdict, f"OUTSIDE, {verdict}")
        yield (row["label"], *numbers, _range(row), mark)


def _range(row: dict[str, Any]) -> str:
    low, high = (_format(row[key], row["decimals"]) for key in ("low", "high"))
    match low, high:
        case "", "":
            return ""
        case _, "":
            return f">= {low}"
        case "", _:
            return f"<= {high}"
        case _:
            return f"{low} to {high}"


def _format(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def plain_json(value: Any) -> Any:
    """Round numbers and turn what JSON cannot say into null."""
    match value:
        case dict():
            return {key: plain_json(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_json(item) for item in value]
        case float():
            return float(f"{value:.{_SIGNIFICANT}g}") if math.isfinite(value) else None
        case _:
            return value


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write the report as data."""
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
