"""The topology is a sphere with holes at the mouth, the eyes and the face's outline."""

from __future__ import annotations

from collections import Counter

from parlante.models import face_mesh as fm


def edges_of(loop):
    return {tuple(sorted(edge)) for edge in zip(loop, loop[1:] + loop[:1], strict=True)}


def test_triangles_use_every_skin_landmark():
    assert set(fm.skin_triangles().ravel().tolist()) == set(range(fm.NUM_SKIN_LANDMARKS))


def test_boundary_is_outline_mouth_and_eyes():
    count = Counter(
        tuple(sorted((int(t[k]), int(t[k - 1])))) for t in fm.skin_triangles() for k in range(3)
    )
    boundary = {edge for edge, owners in count.items() if owners == 1}
    loops = (fm.OVAL, fm.INNER_LIPS, fm.RIGHT_EYE, fm.LEFT_EYE)
    assert boundary == set().union(*map(edges_of, loops))


def test_mirror_is_its_own_inverse():
    mirror = fm.mirror_indices()
    assert (mirror[mirror] == range(fm.NUM_SKIN_LANDMARKS)).all()
    assert mirror[61] == 291


def test_strip_leaves_out_degenerate_triangles():
    assert fm.strip_triangles((0, 1, 4), (0, 2, 4)).tolist() == [[1, 2, 0], [1, 4, 2]]
