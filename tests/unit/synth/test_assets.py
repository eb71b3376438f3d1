"""Reading a head pack."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.synth.assets import HeadPack, load_pack
from parlante.synth.landmarks import LandmarkMap, load_landmark_map
from tests.unit.synth.tiny_heads import tiny_landmarks


@pytest.fixture
def copied(heads: Path, tmp_path: Path) -> Path:
    return shutil.copytree(heads, tmp_path / "pack")


def test_missing_file_is_named(copied: Path) -> None:
    (copied / "rig.npz").unlink()
    with pytest.raises(FailedPrecondition, match=r"rig\.npz"):
        load_pack(copied)


def test_missing_expressions_are_named(copied: Path) -> None:
    (copied / "expressions.json").unlink()
    with pytest.raises(FailedPrecondition, match=r"expressions\.json"):
        load_pack(copied)


def test_broken_file_is_refused(copied: Path) -> None:
    (copied / "base.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="cannot read"):
        load_pack(copied)


def test_index_beyond_its_array_is_refused(copied: Path) -> None:
    with np.load(copied / "base.npz") as data:
        arrays = dict(data)
    arrays["quads"] = arrays["quads"] + np.uint16(60_000)
    np.savez(copied / "base.npz", **arrays)
    with pytest.raises(InvalidInput, match="base quads"):
        load_pack(copied)


def test_other_layout_is_refused(copied: Path) -> None:
    np.savez(copied / "rig.npz", bone_names=np.array(["body"]))
    with pytest.raises(InvalidInput) as caught:
        load_pack(copied)
    assert caught.value.reason == "BAD_HEAD_PACK"


def test_morph_adds_weighted_offsets(pack: HeadPack) -> None:
    half = pack.morph({"nose/nose-hump-incr": 0.5}) - pack.rest
    moved = np.abs(half).max(axis=1) > 0
    np.testing.assert_allclose(half[moved, 2], 0.025, rtol=1e-3)
    assert 0 < moved.sum() < len(pack.rest) / 4


def test_unknown_target_is_refused(pack: HeadPack) -> None:
    with pytest.raises(InvalidInput, match="no identity target"):
        pack.morph({"macro/martian": 1.0})


def test_part_takes_its_place_and_bones_from_the_body(pack: HeadPack) -> None:
    points, weights = pack.fit(pack.rest, "teeth_tiny")
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert np.abs(points[:, 0]).max() == pytest.approx(0.14, abs=1e-3)
    moved, _ = pack.fit(pack.rest + np.array([0.0, 0.5, 0.0]), "teeth_tiny")
    np.testing.assert_allclose(moved - points, np.tile([0.0, 0.5, 0.0], (len(points), 1)))


def test_landmark_map_survives_its_file(pack: HeadPack, tmp_path: Path) -> None:
    made = tiny_landmarks(pack)
    made.save(tmp_path / "map.npz")
    read = load_landmark_map(pack, tmp_path / "map.npz")
    np.testing.assert_array_equal(read.corners, made.corners)
    np.testing.assert_array_equal(read.weights, made.weights)


def test_packaged_map_belongs_to_another_pack(pack: HeadPack) -> None:
    with pytest.raises(FailedPrecondition, match="another head pack"):
        load_landmark_map(pack)


def test_unreadable_landmark_map_is_refused(pack: HeadPack, tmp_path: Path) -> None:
    (tmp_path / "map.npz").write_bytes(b"no archive")
    with pytest.raises(InvalidInput, match="cannot read a landmark map"):
        load_landmark_map(pack, tmp_path / "map.npz")


def test_landmarks_are_weighted_means() -> None:
    points = np.arange(9.0).reshape(3, 3)
    corners = np.tile(np.array([0, 1, 2], np.int32), (468, 1))
    weights = np.tile(np.array([0.5, 0.25, 0.25], np.float32), (468, 1))
    found = LandmarkMap(corners=corners, weights=weights, topology_digest="").place(points)
    np.testing.assert_allclose(found[0], 0.5 * points[0] + 0.25 * points[1] + 0.25 * points[2])
