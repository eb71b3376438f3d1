"""Files of a data set, and flow between frames, without drawing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import InvalidInput, NotFound
from parlante.synth.dataset import (
    Subject,
    encode_picture,
    flow_between,
    open_dataset,
    read_subject,
    write_subject,
)
from parlante.synth.generator import SynthOptions

SIZE = 32


def _square(left: float, depth: float) -> np.ndarray:
    """Corners of a 16 px square: px x, px y, distance."""
    return np.array(
        [(left + x, 8.0 + y, depth) for x, y in ((0, 0), (16, 0), (16, 16), (0, 16))], np.float32
    )


def _surface(left: int) -> np.ndarray:
    """Triangles (0, 1, 2) and (0, 2, 3) of the square, with the weights of their corners."""
    out = np.zeros((SIZE, SIZE, 3), np.uint16)
    for y in range(8, 24):
        for x in range(left, left + 16):
            u, v = (x - left) / 16, (y - 8) / 16
            upper = u >= v
            first, second = (1 - u, u - v) if upper else (1 - v, u)
            out[y, x] = (1 if upper else 2, round(first * 65535), round(second * 65535))
    return out


def _arrays(*, blocked: bool) -> dict[str, np.ndarray]:
    """A square that moves 5 px to the right, maybe behind something near."""
    depth = np.full((2, SIZE, SIZE), np.inf, np.float16)
    depth[0, 8:24, 4:20] = depth[1, 8:24, 9:25] = 0.0
    if blocked:
        depth[1, :, 17:] = -1.0
    return {
        "triangles": np.array([[0, 1, 2], [0, 2, 3]], np.int32),
        "points": np.stack([_square(4.0, 10.0), _square(9.0, 10.0)]),
        "middle_depth_dm": np.array(10.0, np.float32),
        "surface_0": encode_picture(_surface(4)), "surface_1": encode_picture(_surface(9)),
        "depth_0": depth[0], "depth_1": depth[1],
        "image_0": encode_picture(np.full((SIZE, SIZE, 3), (10, 20, 30), np.uint8)),
        "parts_0": encode_picture(np.ones((SIZE, SIZE), np.uint8)),
        "matte_0": encode_picture(np.full((SIZE, SIZE), 255, np.uint8)),
        "landmarks": np.zeros((2, 478, 3), np.float32), "visible": np.ones((2, 468), bool),
        "pose": np.zeros((2, 6), np.float32), "gaze": np.zeros((2, 2), np.float32),
        "units": np.zeros((2, 1), np.float32), "unit_names": np.array(["JawDrop"]),
        "arkit": np.zeros((2, 52), np.float32), "metadata": np.array(json.dumps({"sex": "female"})),
    }  # fmt: skip


def _written(folder: Path, *, blocked: bool = False) -> Subject:
    path = folder / "subject-00000.npz"
    write_subject(path, _arrays(blocked=blocked))
    return read_subject(path)


def test_subject_survives_its_file(tmp_path: Path) -> None:
    subject = _written(tmp_path)
    assert subject.num_frames == 2
    assert subject.image(0)[0, 0].tolist() == [10, 20, 30]
    assert subject.parts(0).max() == 1
    assert subject.matte(0).min() == 255
    assert subject.metadata["sex"] == "female"
    np.testing.assert_array_equal(subject.surface(1), _surface(9))
    assert not list(tmp_path.glob("*.tmp"))


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_subject(tmp_path / name, _arrays(blocked=False))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_flow_is_the_motion_of_the_surface(tmp_path: Path) -> None:
    flow, visible = flow_between(_written(tmp_path), 0, 1)
    np.testing.assert_allclose(flow[8:24, 4:20, 0], 5.0, atol=1e-2)
    np.testing.assert_allclose(flow[8:24, 4:20, 1], 0.0, atol=1e-2)
    assert visible[9:23, 5:19].all()
    assert not visible[:7].any()
    assert not flow[:7].any()


def test_what_lies_behind_something_is_not_visible(tmp_path: Path) -> None:
    flow, visible = flow_between(_written(tmp_path, blocked=True), 0, 1)
    np.testing.assert_allclose(flow[8:24, 4:20, 0], 5.0, atol=1e-2)  # known all the same
    assert visible[9:23, 5:11].all()
    assert not visible[:, 14:].any()


def test_weights_of_a_tilted_surface_hold_in_space(tmp_path: Path) -> None:
    """A point halfway in space lies nearer to the far end in the picture."""
    arrays = _arrays(blocked=False)
    arrays["points"][1, :, 2] = (10.0, 20.0, 20.0, 10.0)
    write_subject(tmp_path / "s.npz", arrays)
    flow, _ = flow_between(read_subject(tmp_path / "s.npz"), 0, 1)
    middle_x = 12 + flow[16, 12, 0]
    assert middle_x == pytest.approx(9.0 + 16.0 * 20.0 / 30.0, abs=0.05)


def test_missing_frame_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no image_7"):
        _written(tmp_path).image(7)


def test_broken_subject_is_refused(tmp_path: Path) -> None:
    (tmp_path / "subject-00000.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="is not a subject"):
        read_subject(tmp_path / "subject-00000.npz")


def test_folder_without_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"dataset\.json"):
        open_dataset(tmp_path)


def test_other_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"version": 99}')
    with pytest.raises(InvalidInput, match="version 99"):
        open_dataset(tmp_path)


def test_index_beyond_the_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"version": 1}')
    with pytest.raises(NotFound, match="got 0"):
        open_dataset(tmp_path).subject(0)


@pytest.mark.parametrize(
    "values", [{"num_subjects": 0}, {"frames_per_subject": 65}, {"seed": -1}, {"size_px": 63}]
)
def test_options_out_of_range_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        SynthOptions(**{"num_subjects": 1, **values})
