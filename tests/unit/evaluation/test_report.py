"""The report: its keys, its verdicts, and that it is JSON whatever was seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parlante.evaluation.motion import Judgement, judge, pool
from parlante.evaluation.phones import PhoneSpan
from parlante.evaluation.reference import REFERENCES, Reference
from parlante.evaluation.report import make_report, table_lines, write_markdown
from parlante.evaluation.speech_source import SpokenPhones
from parlante.evaluation.sync import load_reference_model
from parlante.evaluation.tracking import FaceCurves
from parlante.types import Float32Array

Face = Callable[..., FaceCurves]


@pytest.fixture
def judgements(face: Face, voice: Float32Array) -> list[Judgement]:
    """A face that moves, and one that does not and is no 25 Hz video."""
    rng = np.random.default_rng(0)
    moving = face(
        aperture=np.abs(rng.standard_normal(250)) / 10,
        mouth_width=0.5 + rng.standard_normal(250) / 50,
        yaw_deg=rng.standard_normal(250),
        eye_ratio=np.where(np.arange(250) % 100 == 50, 0.0, 0.3),
    )
    phones = [PhoneSpan("M", 2.5, 2.6), PhoneSpan("AA", 2.6, 2.8), PhoneSpan("SIL", 4.0, 6.0)]
    spoken = SpokenPhones(phones=phones, origin="file", words="ma")
    silent = SpokenPhones(phones=[], origin="none", note="no phones")
    model = load_reference_model()
    return [
        judge(Path("a.mp4"), moving, voice, model, spoken=spoken, block_frames=2),
        judge(
            Path("b.mp4"),
            face(75, source_fps=30.0),
            voice[: 3 * 16_000],
            model,
            spoken=silent,
            block_frames=2,
        ),
    ]


@pytest.fixture
def report(judgements: list[Judgement]) -> dict[str, Any]:
    return make_report(
        judgements, load_reference_model(), block_frames=2, refused={"c.mp4": "no sound"}
    )


def test_report_is_json_with_its_keys(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report) == {
        *("version", "pooled", "control", "table", "videos", "refused"),
        *("sync_model", "block_frames"),
    }
    assert set(report["videos"][0]) == {
        *("name", "seconds", "source_fps", "source_frames", "source_frames_lost", "phones_from"),
        *("words", "note", "values", "control", "closures", "shut_delays_ms", "sync"),
        *("head_sound", "seams"),
    }
    assert set(report["videos"][0]["sync"]["jaw"]) == {
        *("correlation", "peak", "lag_ms", "wrong_audio", "wrong_audio_std"),
    }
    assert [row["key"] for row in report["table"]] == [r.key for r in REFERENCES]


def test_every_line_of_the_table_has_a_value_in_the_pool(judgements: list[Judgement]) -> None:
    values, _ = pool(judgements)
    assert {reference.key for reference in REFERENCES} <= values.keys()


def test_statistics_are_weighted_by_length(judgements: list[Judgement]) -> None:
    first, second = (pool([j])[0]["yaw_std_deg"] for j in judgements)
    both = pool(judgements)[0]["yaw_std_deg"]
    assert (second, both) == (0.0, pytest.approx((first or 0.0) * 10 / 13))


def test_seams_of_other_rates_are_not_judged(report: dict[str, Any]) -> None:
    assert report["videos"][1]["seams"] is None
    assert report["pooled"]["seam_head"] == report["videos"][0]["values"]["seam_head"]


def test_verdicts() -> None:
    two_ends = Reference("a", "a", low=1.0, high=2.0)
    assert [two_ends.verdict(v) for v in (0.5, 1.5, 2.5, None)] == ["below", "inside", "above", ""]
    assert Reference("a", "a", low=1.0).verdict(9.0) == "inside"
    assert Reference("a", "a").verdict(9.0) == ""


def test_table_and_page_name_what_is_outside(report: dict[str, Any], tmp_path: Path) -> None:
    lines = table_lines(report)
    assert len(lines) == len(REFERENCES) + 5
    assert lines[0].startswith("2 video(s), 13.0 s; 1 P/B/M")
    assert any("blinks per minute" in line and "33" in line for line in lines)
    page = tmp_path / "report.md"
    write_markdown(report, page, [tmp_path / "a_lips.png"])
    text = page.read_text()
    assert "OUTSIDE, below" in text
    assert "not judged: c.mp4: no sound" in text
    assert "![a_lips](a_lips.png)" in text
