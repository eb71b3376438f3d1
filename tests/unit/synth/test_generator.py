"""Whole subjects, drawn with OpenGL; skipped where none can start."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.models import face_mesh
from parlante.synth.dataset import Subject, flow_between, open_dataset
from parlante.synth.dataset_maker import make_dataset
from parlante.synth.generator import SynthOptions, render_subject
from parlante.synth.labels import Part
from parlante.synth.renderer import Renderer
from parlante.synth.sheet import draw_sheet
from parlante.synth.subject import Studio
from parlante.types import ARKIT_CHANNELS
from tests.unit.synth.conftest import OPTIONS

pytestmark = pytest.mark.slow
SIZE = OPTIONS.size_px


@pytest.fixture
def subjects(drawn: Path) -> list[Subject]:
    dataset = open_dataset(drawn)
    return [dataset.subject(index) for index in range(len(dataset))]


def test_arrays_are_those_of_the_format(subjects: list[Subject]) -> None:
    for subject in subjects:
        num_units = len(subject.unit_names)
        for name, dtype, shape in (
            ("landmarks", np.float32, (3, 478, 3)), ("visible", np.bool_, (3, 468)),
            ("pose", np.float32, (3, 6)), ("gaze", np.float32, (3, 2)),
            ("units", np.float32, (3, num_units)), ("arkit", np.float32, (3, 52)),
            ("depth_2", np.float16, (SIZE, SIZE)), ("image_2", np.uint8, None),
        ):  # fmt: skip
            array = subject.arrays[name]
            assert array.dtype == dtype, name
            assert shape is None or array.shape == shape, name
        assert subject.image(0).shape == (SIZE, SIZE, 3)
        assert subject.surface(0).shape == (SIZE, SIZE, 3)
        assert all(np.isfinite(subject.arrays[n]).all() for n in ("landmarks", "pose", "points"))


def test_sexes_and_tones_take_turns(subjects: list[Subject]) -> None:
    assert [subject.metadata["sex"] for subject in subjects] == ["female", "male", "female"]
    assert [subject.metadata["tone"] for subject in subjects] == ["light", "light", "tan"]
    luminance = [subject.metadata["skin_luminance"] for subject in subjects]
    assert 0.0 < luminance[2] < luminance[0] < 1.0  # the same texture, darker


def test_same_seed_gives_the_same_bytes_in_any_order(studio: Studio, drawn: Path) -> None:
    stored = open_dataset(drawn).subject(2).arrays
    with Renderer(studio.pack, size_px=SIZE) as renderer:
        again = render_subject(studio, renderer, OPTIONS, 2)  # here it is the first, there the last
    assert set(again) == set(stored)
    for name, array in again.items():
        np.testing.assert_array_equal(array, stored[name], err_msg=name)


def test_other_seed_gives_another_person(studio: Studio, drawn: Path) -> None:
    options = SynthOptions(num_subjects=1, frames_per_subject=1, seed=5, size_px=SIZE)
    with Renderer(studio.pack, size_px=SIZE) as renderer:
        other = render_subject(studio, renderer, options, 0)
    stored = open_dataset(drawn).subject(0)
    assert not np.array_equal(other["landmarks"][0], stored.landmarks[0])


def test_source_is_framed_as_a_portrait_crop(subjects: list[Subject]) -> None:
    for subject in subjects:
        oval = subject.landmarks[0, list(face_mesh.OVAL), :2]
        middle = 0.5 * (oval.min(axis=0) + oval.max(axis=0))
        assert middle[0] / SIZE == pytest.approx(0.5, abs=0.03)
        assert 0.4 < np.ptp(oval[:, 1]) / SIZE < 0.75


def test_parts_matte_and_depth_agree(subjects: list[Subject]) -> None:
    for subject in subjects:
        parts, matte = subject.parts(0), subject.matte(0)
        assert {Part.SKIN, Part.EYE, Part.HAIR, Part.LIPS, Part.GARMENT} <= set(np.unique(parts))
        np.testing.assert_array_equal(parts > 0, subject.surface(0)[..., 0] > 0)
        np.testing.assert_array_equal(parts > 0, np.isfinite(subject.depth(0)))
        assert ((matte > 127) == (parts > 0)).mean() > 0.97


def test_lips_lie_between_the_lip_landmarks(subjects: list[Subject]) -> None:
    for subject in subjects:
        rows, columns = np.nonzero(subject.parts(0) == Part.LIPS)
        outline = subject.landmarks[0, list(face_mesh.OUTER_LIPS), :2]
        assert abs(columns.mean() - outline[:, 0].mean()) < 0.03 * SIZE
        assert abs(rows.mean() - outline[:, 1].mean()) < 0.03 * SIZE


def test_flow_carries_visible_landmarks(subjects: list[Subject]) -> None:
    """Two ways to the same place: the surface under a landmark, and the landmark itself."""
    for subject in subjects:
        flow, visible = flow_between(subject, 0, 1)
        points = subject.landmarks[:, :468, :2]
        pixel = np.clip(np.rint(points[0]).astype(int), 0, SIZE - 1)
        on_skin = np.isin(subject.parts(0)[pixel[:, 1], pixel[:, 0]], (Part.SKIN, Part.LIPS))
        sure = on_skin & subject.visible.all(axis=0) & visible[pixel[:, 1], pixel[:, 0]]
        assert sure.sum() > 50
        moved = points[0] + flow[pixel[:, 1], pixel[:, 0]]
        error = np.linalg.norm(moved - points[1], axis=1)[sure]
        assert np.median(error) < 0.5


def test_flow_to_itself_is_nothing(subjects: list[Subject]) -> None:
    flow, visible = flow_between(subjects[0], 1, 1)
    person = subjects[0].parts(1) > 0
    assert np.abs(flow[person]).max() < 0.05
    assert visible[person].mean() > 0.99


def test_irises_lie_on_the_eyes(subjects: list[Subject]) -> None:
    for subject in subjects:
        eyes = subject.parts(0) == Part.EYE
        for centre in (468, 473):
            x, y = np.rint(subject.landmarks[0, centre, :2]).astype(int)
            near = np.argwhere(eyes) - [y, x]
            assert np.abs(near).max(axis=1).min() <= 0.03 * SIZE


def test_labels_say_what_the_rig_did(subjects: list[Subject]) -> None:
    jaw = ARKIT_CHANNELS.index("jawOpen")
    for subject in subjects:
        unit = subject.units[:, subject.unit_names.index("JawDrop")]
        np.testing.assert_allclose(subject.arkit[:, jaw], np.clip(unit, 0.0, 1.0), atol=1e-6)
        corners = subject.landmarks[:, list(face_mesh.OUTER_EYE_CORNERS), :2]
        moved = np.diff(corners.mean(axis=1), axis=0)
        shifts = np.diff(subject.pose[:, 3:5], axis=0)
        # The shift channels are the eyes' way in the picture, by one and the same unit.
        unit_px = moved[np.abs(shifts) > 0.02] / shifts[np.abs(shifts) > 0.02]
        assert np.ptp(unit_px) < 0.01 * unit_px.mean()


def test_run_goes_on_and_keeps_what_is_there(studio: Studio, drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    kept = folder / "subject-00000.npz"
    kept.write_bytes((drawn / kept.name).read_bytes())
    stamp = kept.stat().st_mtime_ns
    options = SynthOptions(num_subjects=2, frames_per_subject=3, seed=4, size_px=SIZE)
    made: list[int] = []
    report = make_dataset(studio, folder, options, progress=made.append)
    assert (report.num_kept, report.num_made, report.num_frames) == (1, 1, 3)
    assert made == [1]
    assert kept.stat().st_mtime_ns == stamp
    assert report.frames_per_second > 0.0
    assert {"subject", "pose", "draw", "label", "encode", "write"} == set(report.step_ms)
    other = (drawn / "subject-00001.npz").read_bytes()
    assert (folder / "subject-00001.npz").read_bytes() == other


def test_processes_make_the_same_files(studio: Studio, drawn: Path, tmp_path: Path) -> None:
    made: list[int] = []
    report = make_dataset(studio, tmp_path, OPTIONS, num_processes=2, progress=made.append)
    assert sorted(made) == list(range(OPTIONS.num_subjects))
    assert report.num_made == OPTIONS.num_subjects
    assert report.device
    assert report.cpu_seconds > 0.0
    for path in drawn.glob("subject-*.npz"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_folder_of_another_set_is_refused(studio: Studio, drawn: Path) -> None:
    options = SynthOptions(num_subjects=3, frames_per_subject=3, seed=99, size_px=SIZE)
    with pytest.raises(InvalidInput, match="other options"):
        make_dataset(studio, drawn, options)
    assert json.loads((drawn / "dataset.json").read_text())["seed"] == OPTIONS.seed


def test_sheet_shows_every_frame(drawn: Path, tmp_path: Path) -> None:
    import cv2

    draw_sheet(open_dataset(drawn), tmp_path / "sheet.png", [0, 1])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 5 * SIZE, 3 * SIZE, 3)


def test_missing_texture_is_named(
    studio: Studio, opengl: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Renderer(studio.pack, size_px=SIZE) as renderer:
        monkeypatch.setattr(renderer._textures, "_folder", tmp_path)
        with pytest.raises(InvalidInput, match="cannot read the texture"):
            renderer.mean_grey("teeth.jpg")
