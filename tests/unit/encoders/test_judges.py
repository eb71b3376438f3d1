"""Judges find what is there: the truth is perfect, planted leaks and errors are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parlante.evaluation.encoders.closed_loop import (
    LOOP_MEASURES,
    Agreement,
    LoopScores,
    agree,
    read_measures,
    seen_measures,
)
from parlante.evaluation.encoders.exercise import exercise
from parlante.evaluation.encoders.heads import judge_errors, judge_leaks, judge_people
from parlante.evaluation.encoders.report import (
    draw_strips,
    make_encoders_report,
    summary_lines,
    write_encoders_page,
)
from parlante.models.face_codes import READ_CHANNELS, READ_MEASURES
from parlante.models.face_reader import Reading
from parlante.training.encoders.batches import collect
from parlante.training.encoders.probes import FRAMES_PER_KIND, PROBE_FRAMES
from parlante.training.videos.measures import MEASURE_INDEX, MEASURES
from parlante.types import MOTION_DIM, MOTION_INDEX
from tests.unit.encoders.conftest import made_head


@pytest.fixture(scope="module")
def data():
    out = collect([made_head(seed, PROBE_FRAMES) for seed in range(4)])
    out.channels[:, [READ_CHANNELS.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 0.0
    return out


@pytest.fixture
def truth(data):
    person = np.eye(4, dtype=np.float32)[data.head]
    return Reading(
        pose=data.angles,
        gaze=data.gaze,
        channels=data.channels,
        measures=data.measures,
        dynamics=data.channels,
        identity=person,
    )


def tracked_like(data, value=np.nan):
    return np.full((len(data), 5 + len(READ_MEASURES)), value)


def test_the_truth_has_no_errors(truth, data):
    tracked = np.concatenate(
        [np.degrees(data.angles), np.degrees(data.gaze), data.measures], axis=1
    ).astype(np.float64)
    for name, (ours, theirs) in judge_errors(truth, data, tracked).items():
        assert ours.error < 1e-4, name
        assert theirs is None or theirs.error < 1e-4
        if name in ("yaw", "gaze pitch", "channel jawOpen"):
            assert ours.correlation == pytest.approx(1.0)
            assert ours.gain == pytest.approx(1.0)


def test_offsets_of_a_head_are_no_motion(truth, data):
    offset = 0.2 * data.head[:, None].astype(np.float32)
    shifted = replace(truth, gaze=truth.gaze + offset)
    ours, _ = judge_errors(shifted, data, tracked_like(data, 0.0))["gaze yaw"]
    assert ours.error > 5.0
    assert ours.correlation == pytest.approx(1.0)


def test_leaks_are_told_by_what_changes(truth, data):
    clean = judge_leaks(truth, data)
    assert clean.pose_deg < 1e-4
    leaky = replace(truth, pose=truth.pose.copy())
    rows = data.frame < FRAMES_PER_KIND  # the expression changes
    leaky.pose[rows, 0] += np.random.default_rng(0).normal(0.0, 0.1, rows.sum())
    assert judge_leaks(leaky, data).pose_deg > 1.0
    assert judge_leaks(leaky, data).gaze_deg == clean.gaze_deg


def test_people_are_found_by_their_codes_alone(truth, data):
    known = judge_people(truth, data)
    assert known.found == 1.0
    assert known.likeness_same == pytest.approx(1.0)
    assert known.likeness_other == pytest.approx(0.0)
    assert known.chance == pytest.approx((PROBE_FRAMES - 1) / (4 * PROBE_FRAMES - 1))
    noise = np.random.default_rng(0).normal(size=truth.identity.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert judge_people(replace(truth, identity=noise), data).found < 0.5


def test_the_exercise_moves_all_that_is_looked_at():
    motion = exercise(200, 1)
    assert motion.shape == (200, MOTION_DIM)
    assert not motion[:10].any()
    for name in ("jawOpen", "mouthPucker", "mouthStretchLeft", "mouthClose", "browInnerUp",
                 "eyeBlinkLeft", "gazeYaw", "gazePitch", "headYaw", "mouthSmileLeft"):  # fmt: skip
        assert np.ptp(motion[:, MOTION_INDEX[name]]) > 0.1, name
    assert np.array_equal(motion, exercise(200, 1))
    assert not np.array_equal(motion, exercise(200, 2))


def test_shut_eyes_do_not_count_for_the_gaze():
    rng = np.random.default_rng(0)
    told = {name: rng.normal(size=60) for name in LOOP_MEASURES}
    told["lids"] = (np.arange(60) % 6 == 0).astype(float)
    found = {name: 0.5 * values + 3.0 for name, values in told.items()}
    found["gaze yaw"][::6] = rng.normal(size=10)
    for name, agreement in agree(told, found).items():
        assert agreement.correlation == pytest.approx(1.0), name
        assert agreement.gain == pytest.approx(0.5)


def test_readings_take_the_place_of_measures(truth, data):
    tracked = np.random.default_rng(0).normal(size=(len(data), len(MEASURES)))
    read = read_measures(truth, tracked)
    assert read[:, MEASURE_INDEX["gaze_pitch"]] == pytest.approx(data.gaze[:, 1])
    assert read[:, MEASURE_INDEX["x_px"]] == pytest.approx(tracked[:, MEASURE_INDEX["x_px"]])
    seen = seen_measures(read)
    width = data.measures[:, READ_MEASURES.index("mouth_width")]
    assert seen["mouth width"] == pytest.approx(width)
    assert set(seen) == set(LOOP_MEASURES)


def test_the_report_shows_all_of_it(truth, data, tmp_path):
    same = {n: Agreement(correlation=0.9, gain=1.1, error=0.1) for n in LOOP_MEASURES}
    strip = [np.zeros((32, 32, 3), np.uint8)] * 2
    loops = {
        "someone": LoopScores(
            tracked=same, read=same, driven=same, driven_with=same, identity=0.8,
            strips=[strip] * 3,
        )
    }  # fmt: skip
    report = make_encoders_report(
        "0" * 64,
        judge_errors(truth, data, tracked_like(data, 0.0)),
        judge_leaks(truth, data),
        judge_people(truth, data),
        loops,
    )
    text = "\n".join(summary_lines(report))
    assert "| gaze yaw | 0.900 x1.10 |" in text
    assert "found in 100.0%" in text
    pictures = draw_strips(loops, tmp_path)
    write_encoders_page(report, tmp_path / "report.md", pictures)
    assert "loop-someone.png" in (tmp_path / "report.md").read_text()
    assert pictures[0].exists()
