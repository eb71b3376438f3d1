"""Where a picture shows the edge of an iris: its middle and its radius.

The tracker knows irises as most people's are, 0.065 inter-ocular distances (IOD) in radius. Painted
and rendered faces have larger ones. What lies between pupil and edge has one colour, what lies
beside has another: the edge is the circle on which one becomes the other, on both sides of both
eyes. Axis letters: S sides of an eye, Y and X places of the middle, R radii, A angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.eye_state import eye_frame
from parlante.types import Float32Array, Uint8Array

__all__ = ["Iris", "find_irises"]

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Corner at image left to corner at image right; the subject's right eye, then the left.
UPPER_LIDS: Final = ((33, *fm.RIGHT_UPPER_LID, 133), (362, *fm.LEFT_UPPER_LID[::-1], 263))
LOWER_LIDS: Final = ((33, *fm.RIGHT_LOWER_LID, 133), (362, *fm.LEFT_LOWER_LID[::-1], 263))
IRISES: Final = (fm.RIGHT_IRIS, fm.LEFT_IRIS)
MIN_IRIS_IOD: Final = 0.048
MAX_IRIS_IOD: Final = 0.080  # of an iris as the tracker has it
STEP_IOD: Final = 0.0025
CALM_IOD: Final = 0.006
REACH_IOD: Final = 0.22  # around the tracker's middle
NUM_STEPS: Final = round(REACH_IOD / STEP_IOD)
RADII_IOD: Final = np.arange(0.050, 0.111, 0.005)
ASIDE_IOD: Final = np.arange(-0.04, 0.041, 0.010)
ACROSS_IOD: Final = np.arange(-0.03, 0.031, 0.015)
FINE_IOD: Final = np.arange(-0.0075, 0.0076, 0.0025)
EDGES_IOD: Final = (0.010, 0.0225)  # to both sides of sharp and soft edges: colours compared
SIDES: Final = np.array([-1.0, 1.0])  # image left and right
ANGLES: Final = np.deg2rad(np.arange(-48.0, 48.1, 12.0))  # about the eye's axis
SURE_ANGLES: Final = np.abs(ANGLES) < 0.5  # are looked at wherever the tracker has the lids
LIDS_IOD: Final = 0.012  # nearer to lids their lashes are seen
MIN_PIXELS: Final = 40
PUPIL_ENDS, IRIS_ENDS = 0.45, 0.90  # in radii
BESIDE_IOD: Final = (0.015, 0.070)  # beyond the edge
BESIDE_HEIGHT_IOD: Final = 0.035
WIDEST_IOD: Final = 0.080  # while the edge is not known
MIN_CONTRAST: Final = 22.0  # of 255
MISSED_SIDE: Final = 0.15  # by which the other one must tell more
OFF_CENTRE: Final = 0.10  # by which a middle that is off by so much must:
OFF_CENTRE_IOD: Final = 0.03
MIN_EDGES: Final = {4: 0.42, 3: 0.55}  # of the way, by how many sides tell it; fewer never do
MIN_GAIN: Final = 1.10  # so much larger than the tracker's; up to there its own is as good


class Iris(NamedTuple):
    """An iris in a picture: float64 [2], its middle, px; and its radius, px."""

    centre: Float64Array
    radius: float


class _Place(NamedTuple):
    """An iris in IOD: along and across the eye from the tracker's middle, and its radius."""

    x: float
    y: float
    radius: float


def find_irises(image: Uint8Array, landmarks: Float32Array) -> tuple[Iris, Iris]:
    """Find the irises of the subject's right and left eye.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: float32 [478, >= 2], px.

    Returns:
        What the picture shows for certain, otherwise what the tracker has.
    """
    eyes = [_Eye.of(image, landmarks, side) for side in (0, 1)]
    tracked = eyes[0].iris, eyes[1].iris
    places = [_Place(0.0, 0.0, eye.iris.radius / eye.iod) for eye in eyes]
    edges: list[Float64Array] = []
    for widest in (WIDEST_IOD, 0.0):  # then by the colours of what was found
        ways = [eye.ways(place, widest) for eye, place in zip(eyes, places, strict=True)]
        if any(np.isnan(way).all() for way in ways):
            return tracked
        places = _search(eyes, ways, RADII_IOD, [(ASIDE_IOD, ACROSS_IOD)] * 2)
        near = [(place.x + FINE_IOD, place.y + FINE_IOD) for place in places]
        places = _search(eyes, ways, places[0].radius + FINE_IOD, near)
        gain = places[0].radius * 2.0 * eyes[0].iod / (tracked[0].radius + tracked[1].radius)
        if gain < MIN_GAIN:
            return tracked
        edges = [
            eye.edges(way, *(np.array([value]) for value in place)).ravel()
            for eye, way, place in zip(eyes, ways, places, strict=True)
        ]
    least = MIN_EDGES.get(int(np.isfinite(edges).sum()), np.inf)
    if np.nanmin(edges) < least:
        return tracked
    return eyes[0].placed(places[0]), eyes[1].placed(places[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Eye:
    """The surroundings of an iris, seen along the eye.

    Attributes:
        iris: As the tracker has it.
        axes: float64 [2, 2], rows: along and across the eye.
        iod: px.
        colours: float32 [N, N, 3], RGB, one pixel each `STEP_IOD`.
        x: float64 [N, N], IOD along the eye from the tracker's middle.
        y: float64 [N, N], across it.
        is_seen: bool [N, N], between the lids.
    """

    iris: Iris
    axes: Float64Array
    iod: float
    colours: Float32Array
    x: Float64Array
    y: Float64Array
    is_seen: Mask

    @classmethod
    def of(cls, image: Uint8Array, landmarks: Float32Array, side: int) -> _Eye:
        """Look at the subject's right (0) or left (1) eye."""
        iod = fm.inter_ocular_px(landmarks)
        points = landmarks[:, :2].astype(np.float64)
        upper, lower = points[list(UPPER_LIDS[side])], points[list(LOWER_LIDS[side])]
        centre, *rim = points[list(IRISES[side])]
        radius = float(np.linalg.norm(rim - centre, axis=1).mean())
        radius = min(max(radius, MIN_IRIS_IOD * iod), MAX_IRIS_IOD * iod)
        _, axes, _ = eye_frame(points, UPPER_LIDS[side])
        steps = np.arange(-NUM_STEPS, NUM_STEPS + 1) * STEP_IOD
        x, y = np.meshgrid(steps, steps)
        size = np.array(image.shape[1::-1])
        low = np.floor(centre - 2.0 * REACH_IOD * iod).clip(0, size - 2).astype(int)
        high = np.ceil(centre + 2.0 * REACH_IOD * iod).clip(low + 2, size).astype(int)
        patch = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        calm = cv2.GaussianBlur(patch, (0, 0), max(CALM_IOD * iod, 0.3))
        at = (centre - low + iod * (np.stack([x, y], -1) @ axes)).astype(np.float32)
        colours = cv2.remap(
            calm, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        above, below = ((lid - centre) @ axes.T / iod for lid in (upper, lower))
        from_lids = np.minimum(y - np.interp(x, *above.T), np.interp(x, *below.T) - y)
        return cls(
            iris=Iris(centre, radius),
            axes=axes,
            iod=iod,
            colours=colours.astype(np.float32),
            x=x,
            y=y,
            is_seen=from_lids > LIDS_IOD,
        )

    def placed(self, place: _Place) -> Iris:
        """The iris at a place, px."""
        shift = self.iod * (np.array([place.x, place.y]) @ self.axes)
        return Iris(self.iris.centre + shift, self.iod * place.radius)

    def ways(self, place: _Place, widest: float) -> Float32Array:
        """How far pixels are from the iris's colour to that beside it, on each side.

        Args:
            place: Where the iris is taken to be.
            widest: IOD, its radius at least, as far as what is beside it goes.

        Returns:
            float32 [S, N, N] in [0, 1], NaN on a side that has no other colour than the iris.
        """
        x, y = self.x - place.x, self.y - place.y
        out = np.full((2, *x.shape), np.nan, np.float32)
        apart = np.hypot(x, y) / place.radius
        is_iris = self.is_seen & (apart > PUPIL_ENDS) & (apart < IRIS_ENDS)
        if is_iris.sum() < MIN_PIXELS:
            return out
        iris = np.median(self.colours[is_iris], axis=0)
        low, high = (max(place.radius, widest) + beyond for beyond in BESIDE_IOD)
        for way, side in zip(out, SIDES, strict=True):
            beside = (side * x > low) & (side * x < high) & (np.abs(y) < BESIDE_HEIGHT_IOD)
            is_white = beside & self.is_seen  # unless the iris is in the corner of the eye
            colours = self.colours[is_white if is_white.sum() >= MIN_PIXELS else beside]
            darkest = colours.min(-1)  # of the channels: the eye's white is grey, skin is not
            step = np.median(colours[darkest >= np.median(darkest)], axis=0) - iris
            if np.linalg.norm(step) >= MIN_CONTRAST:
                way[:] = np.clip((self.colours - iris) @ step / (step @ step), 0.0, 1.0)
        return out

    def edges(
        self, ways: Float32Array, x: Float64Array, y: Float64Array, radii: Float64Array
    ) -> Float64Array:
        """How much of the way lies on the edges of irises.

        Args:
            ways: Of `ways`.
            x: float64 [X], IOD.
            y: float64 [Y], IOD.
            radii: float64 [R], IOD.

        Returns:
            float64 [S, Y, X, R], mean over the angles that are seen.
        """
        side = np.arange(2)[:, None, None, None, None]

        def at(radius: Float64Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
            rows = y[:, None, None, None] + radius[:, None] * np.sin(ANGLES)
            columns = x[:, None, None] + SIDES[side] * radius[:, None] * np.cos(ANGLES)
            return _index(rows), _index(columns)

        change = sum(
            ways[(side, *at(radii + edge))] - ways[(side, *at(radii - edge))] for edge in EDGES_IOD
        ) / len(EDGES_IOD)
        seen = self.is_seen[at(radii)] | SURE_ANGLES
        return np.asarray((change * seen).sum(-1) / seen.sum(-1), np.float64)


def _search(
    eyes: list[_Eye],
    ways: list[Float32Array],
    radii: Float64Array,
    middles: list[tuple[Float64Array, Float64Array]],
) -> list[_Place]:
    """Find the radius that both irises have, and where: x [X] and y [Y] of each are tried."""
    scores = []
    for eye, way, (x, y) in zip(eyes, ways, middles, strict=True):
        edges = eye.edges(way, x, y, radii)
        score = np.nanmean(edges, axis=0) - MISSED_SIDE * np.isnan(edges).any(0)
        off = (x**2 + y[:, None] ** 2) / OFF_CENTRE_IOD**2
        scores.append(score - OFF_CENTRE * off[..., None])
    best = int(np.sum([score.max((0, 1)) for score in scores], axis=0).argmax())
    places = []
    for score, (x, y) in zip(scores, middles, strict=True):
        row, column = np.unravel_index(score[..., best].argmax(), score.shape[:2])
        places.append(_Place(float(x[column]), float(y[row]), float(radii[best])))
    return places


def _index(place: Float64Array) -> npt.NDArray[np.intp]:
    """Of the nearest pixel of an eye's surroundings."""
    return np.clip(np.rint(place / STEP_IOD).astype(np.intp) + NUM_STEPS, 0, 2 * NUM_STEPS)
