"""The face rig: ARKit channels -> displacement of the warp mesh of one portrait.

Every channel is given by the motion of a few handles (lips, jaw line, brows) in the face's own
frame; the rest of the mesh follows as a thin plate through them, so that cheeks, chin and neck
move smoothly with the lips. Eyelids and gaze are not here: see `parlante.models.eyes`.

The amounts are the calibration of the motion space, in inter-ocular distances (IOD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.models import face_mesh as fm
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.face_channels import (
    APERTURE_PER_JAW_OPEN,
    BELOW_BROWS,
    BROWS,
    BUMPS,
    CHIN_DROP_PER_JAW_OPEN,
    JAW_LINE_SHARE,
    NUM_COLUMNS,
    SMILE_LOST_PER_FUNNEL,
    SMILE_LOST_PER_JAW_OPEN,
    SMILE_LOST_PER_PUCKER,
    STILL_POINTS,
    LipHandles,
    channel_fields,
    cheeks_lost,
    column_field,
    round_opening,
    smile_lost,
    smile_share,
)
from parlante.models.face_plate import FacePlate
from parlante.models.jit import kernel
from parlante.models.smooth_step import smooth_step
from parlante.types import MOTION_DIM, MOTION_INDEX, Float32Array

Float64Array = npt.NDArray[np.float64]

# The lips' own line that stays between closed lips; a photo with less keeps what it has.
REST_APERTURE: Final = 0.010
# Lower lip's share of the way when lips close (the jaw stays where it is).
LOWER_SHARE_OF_CLOSING: Final = 0.7
FREE_APERTURE: Final = 0.08  # IOD, of lips that are parted over a shut jaw
MAX_OPEN_JAW: Final = 0.9
HIDDEN_BY_ROUNDING: Final = 0.08  # IOD of the lower teeth
# A lower lip that is rolled rises to the upper teeth: by how much at most, what stays open above it
# (teeth are seen there), IOD, and the roll that does all of it.
LABIODENTAL_RISE: Final = 0.15
LABIODENTAL_GAP: Final = 0.026
LABIODENTAL_ROLL: Final = 0.5
# Rounded lips stay wider over a jaw that drops far: no mouth is a tall slot. How high it may be for
# its width in the photo once it is narrowed, and the narrowing that is always left to it.
NARROWED_BY_PUCKER: Final = 0.35
NARROWED_BY_FUNNEL: Final = 0.20
MAX_TALLNESS: Final = 0.77
LEAST_NARROWING: Final = 0.12
# What moods take of a broad smile, for each unit of a channel: a face does not beam while it
# frowns. Brows and eyes that speech lifts leave it.
SMILE_LOST: Final = {"mouthFrown": 2.0, "noseSneer": 1.6, "mouthSmile": -1.0}
# Of eyes: speech widens them by 0.2 at most, fear and surprise by 0.44 to 0.68.
LOST_PER_EYE_WIDE: Final = 5.0
CALM_EYE_WIDE: Final = 0.25
# The photo's own mouth gives way: while lips are told to shut up to this, and while jaw or lips
# move from the first to the second of these. Its pixels go sooner than its shape, so that parted
# lips do not shut before they open; but a gaping mouth may not gape in every consonant.
SHUTS_BY: Final = 0.6
STILL_MOUTH: Final = 0.01
PIXELS_GONE_BY: Final = 0.12
SHAPE_GONE_BY: Final = 0.35
LEAST_GONE_BY: Final = 0.05

_JAW_OPEN: Final = MOTION_INDEX["jawOpen"]
_ROLL_LOWER: Final = MOTION_INDEX["mouthRollLower"]
_PUCKER: Final = MOTION_INDEX["mouthPucker"]
_FUNNEL: Final = MOTION_INDEX["mouthFunnel"]
_SPEAKING: Final = np.array(
    [
        MOTION_INDEX[name]
        for name in (
            "jawOpen", "jawForward", "jawLeft", "jawRight", "mouthFunnel", "mouthPucker",
            "mouthRollLower", "mouthRollUpper", "mouthLowerDownLeft", "mouthLowerDownRight",
            "mouthUpperUpLeft", "mouthUpperUpRight", "tongueOut",
        )
    ]
)  # fmt: skip


_EYE_WIDE: Final = np.array([MOTION_INDEX["eyeWideLeft"], MOTION_INDEX["eyeWideRight"]])


def _weights_of(amounts: Mapping[str, float]) -> Float32Array:
    """Amounts by channel as a vector, float32 [60]; a pair counts by its mean."""
    weights = np.zeros(MOTION_DIM, np.float32)
    for name, amount in amounts.items():
        sides = [name] if name in MOTION_INDEX else [name + "Left", name + "Right"]
        weights[[MOTION_INDEX[side] for side in sides]] = amount / len(sides)
    return weights


_LOST_BY_MOOD: Final = _weights_of(SMILE_LOST)
_LOST_BY_LIPS: Final = _weights_of(
    {"mouthFunnel": SMILE_LOST_PER_FUNNEL, "mouthPucker": SMILE_LOST_PER_PUCKER}
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceRig:
    """Displacement fields of one portrait.

    Attributes:
        channels: int32 [C], index into the motion vector of each field but the last three.
        fields: float32 [C + 3, N, 3], px per unit of the channel; the last three are for lips that
            round over an open jaw, and for moods that let go of a broad smile, sideways and down.
        opening: float32 [C + 3, 9], aperture each unit adds per lip column, IOD.
        lower_columns: float32 [9, N, 3], px per IOD that a column of the lower lip moves down.
        upper_columns: float32 [9, N, 3], px per IOD that a column of the upper lip moves down.
        photo_aperture: float32 [9], of the portrait's own lips once its jaw is shut, IOD.
        rest_aperture: float32 [9], at zero motion, IOD.
        jaw_rest: float32 [N, 3], px, what shuts the jaw of a portrait with a wide open mouth.
        open_jaw: How much of jawOpen that is.
        own_aperture: float32 [9], of the portrait's lips as they are, IOD.
        pushed: float32 [9], by which a shut jaw would shut lips more than they were open, IOD.
        arch: float32 [9], how far each lip column opens with the jaw, against the middle.
        jaw_row: Index of jawOpen in `channels`.
        rounding_rows: int64 [2], of mouthFunnel and mouthPucker.
        smile: How broadly the portrait smiles, [0, 1].
        mouth_width: Of the portrait, corner to corner, IOD.
        gone_by: Motion by which nothing is left of the shape of the photo's own mouth.
    """

    channels: npt.NDArray[np.int32]
    fields: Float32Array
    opening: Float32Array
    lower_columns: Float32Array
    upper_columns: Float32Array
    photo_aperture: Float32Array
    rest_aperture: Float32Array
    jaw_rest: Float32Array
    open_jaw: float
    own_aperture: Float32Array
    pushed: Float32Array
    arch: Float32Array
    jaw_row: int
    rounding_rows: npt.NDArray[np.int64]
    smile: float
    mouth_width: float
    gone_by: float

    def displace(self, motion: Float32Array, vertices: Float32Array) -> Float32Array:
        """Move the vertices of the mesh by one frame's dynamics.

        Args:
            motion: float32 [60].
            vertices: float32 [N, 3], px.

        Returns:
            float32 [N, 3].
        """
        kept = kept_share(motion, self.gone_by)
        amounts = self._amounts(motion, kept)
        lower, upper = self._close(motion, amounts, kept)
        out = vertices + self.jaw_rest
        _accumulate(amounts, self.fields, out)
        _accumulate(lower, self.lower_columns, out)
        _accumulate(upper, self.upper_columns, out)
        return out

    def apertures(self, motion: Float32Array) -> Float32Array:
        """Aperture of each lip column that `displace` gives: float32 [9], IOD."""
        kept = kept_share(motion, self.gone_by)
        amounts = self._amounts(motion, kept)
        lower, upper = self._close(motion, amounts, kept)
        opened = self._base(kept) + amounts @ self.opening
        return np.asarray(opened + lower - upper, np.float32)

    def jaw_way(self, motion: Float32Array) -> Float32Array:
        """How far the lower teeth move: float32 [3], IOD in the face's frame."""
        get = MOTION_INDEX.__getitem__
        jaw = self._jaw(motion, kept_share(motion, self.gone_by))
        aside = 0.08 * float(motion[get("jawLeft")] - motion[get("jawRight")])
        forward = 0.08 * float(motion[get("jawForward")])
        # Lips that round stand before the teeth and hide the lower ones.
        down = CHIN_DROP_PER_JAW_OPEN * jaw + HIDDEN_BY_ROUNDING * _rounding(motion)
        back = 0.35 * CHIN_DROP_PER_JAW_OPEN * jaw - forward
        return np.array([aside, down, back], np.float32)

    def lost_smile(self, motion: Float32Array) -> float:
        """How far a mood lets go of the portrait's broad smile, [0, 1]; 0 where it has none."""
        if self.smile == 0.0:
            return 0.0
        lost = float(_LOST_BY_MOOD @ motion)
        wide = LOST_PER_EYE_WIDE * (float(motion[_EYE_WIDE].mean()) - CALM_EYE_WIDE)
        return min(max(lost + min(max(wide, 0.0), 1.0), 0.0), 1.0)

    def kept_pixels(self, motion: Float32Array) -> float:
        """Share of the pixels of the photo's own mouth that a frame keeps, [0, 1]."""
        return kept_share(motion, min(self.gone_by, PIXELS_GONE_BY))

    def with_still(self, num: int) -> FaceRig:
        """The rig of a mesh with so many more vertices, which no expression moves."""

        def longer(field: Float32Array) -> Float32Array:
            pad = [(0, 0)] * field.ndim
            pad[-2] = (0, num)
            return np.ascontiguousarray(np.pad(field, pad))

        return replace(
            self,
            fields=longer(self.fields),
            lower_columns=longer(self.lower_columns),
            upper_columns=longer(self.upper_columns),
            jaw_rest=longer(self.jaw_rest),
        )

    def _jaw(self, motion: Float32Array, kept: float) -> float:
        """How far the jaw is open: as the motion says, or as far as it is kept as in the photo."""
        jaw, own = float(motion[_JAW_OPEN]), self.open_jaw * kept
        return jaw if own == 0.0 else float(np.cbrt(jaw**3 + own**3))

    def _amounts(self, motion: Float32Array, kept: float) -> Float32Array:
        return self._weights(motion, self._jaw(motion, kept))

    def _weights(self, motion: Float32Array, jaw: float) -> Float32Array:
        """What each field is taken by, [C + 3], where the jaw is open by so much."""
        weights = np.zeros(len(self.fields), np.float32)
        weights[:-3] = motion[self.channels]
        weights[self.jaw_row] = jaw
        weights[self.rounding_rows] *= self._rounding_left(motion, jaw)
        rounding = _rounding(motion)
        weights[-3] = jaw * rounding
        lost = self.lost_smile(motion)
        if lost == 0.0:
            return weights
        # Lips that round, and a jaw that opens, have let go of it already.
        weights[-2] = lost * (1.0 - rounding)
        weights[-1] = max(lost - SMILE_LOST_PER_JAW_OPEN * jaw - float(_LOST_BY_LIPS @ motion), 0.0)
        return weights

    def _rounding_left(self, motion: Float32Array, jaw: float) -> float:
        """Share of pucker and funnel that a jaw leaves, which is open by so much."""
        pucker, funnel = float(motion[_PUCKER]), float(motion[_FUNNEL])
        narrowed = NARROWED_BY_PUCKER * pucker + NARROWED_BY_FUNNEL * funnel
        if narrowed <= 0.0 or jaw <= 0.0:
            return 1.0
        tall = APERTURE_PER_JAW_OPEN * jaw / (MAX_TALLNESS * self.mouth_width)
        most = max(1.0 - tall, LEAST_NARROWING)
        # The smaller of both, smoothly; common rounded vowels keep theirs.
        return most / float(np.sqrt(np.sqrt(narrowed**4 + most**4)))

    def _base(self, kept: float) -> Float32Array:
        """Apertures with the jaw shut: where it shuts more than lips were open, they just touch."""
        return np.asarray(self.photo_aperture - kept * self.pushed, np.float32)

    def _close(
        self, motion: Float32Array, amounts: Float32Array, kept: float
    ) -> tuple[Float32Array, Float32Array]:
        """How far each lip column must still move, so that the aperture is what is asked for."""
        get = MOTION_INDEX.__getitem__
        roll_upper = motion[get("mouthRollUpper")]
        keep = (1.0 - _shut(motion)) * (1.0 - 0.85 * float(min(roll_upper, 1.0)))
        asked = self._weights(motion, float(motion[_JAW_OPEN]))
        opening = np.maximum(asked @ self.opening, 0.0) * keep
        # The rolled lip stops at the upper teeth; at their sides it meets the upper lip.
        teeth = np.minimum(opening, LABIODENTAL_GAP * self.arch)
        rolled = np.maximum(opening - LABIODENTAL_RISE * _rolled(motion) * self.arch, teeth)
        own = kept * (self.own_aperture - self.rest_aperture)
        # The larger of both, smoothly: a mouth that opens does not shut first.
        wanted = self.rest_aperture + np.cbrt(np.maximum(own, 0.0) ** 3 + rolled**3)
        # What the rolled lower lip closes, it closes alone: it rises to the upper teeth.
        by_roll = opening - rolled
        both = self._base(kept) + amounts @ self.opening - wanted - by_roll
        lower = -LOWER_SHARE_OF_CLOSING * both - by_roll
        upper = (1.0 - LOWER_SHARE_OF_CLOSING) * both
        return lower.astype(np.float32), upper.astype(np.float32)


def kept_share(motion: Float32Array, gone_by: float) -> float:
    """Share of the photo's own mouth, open or not, that a frame keeps.

    It is 1 as long as the motion says nothing of lips and jaw. Lips that are told to shut do so,
    and a mouth in speech is drawn.

    Args:
        motion: float32 [60].
        gone_by: Motion of jaw or lips that leaves nothing of it.
    """
    shut = smooth_step(_shut(motion) / SHUTS_BY)
    if shut == 1.0:
        return 0.0
    moves = float(np.abs(motion[_SPEAKING]).max())
    return (1.0 - shut) * (1.0 - smooth_step((moves - STILL_MOUTH) / (gone_by - STILL_MOUTH)))


def _shut(motion: Float32Array) -> float:
    """How far lips are told to shut, [0, 1]."""
    get = MOTION_INDEX.__getitem__
    press = 0.5 * (motion[get("mouthPressLeft")] + motion[get("mouthPressRight")])
    return float(min(max(motion[get("mouthClose")], 2.0 * press, 0.0), 1.0))


def _rolled(motion: Float32Array) -> float:
    """How far a lower lip is rolled to the upper teeth, [0, 1]."""
    return smooth_step(float(motion[_ROLL_LOWER]) / LABIODENTAL_ROLL)


def labiodental(motion: Float32Array) -> float:
    """How far a mouth makes an F: the lower lip is at the upper teeth, and lips do not shut."""
    return _rolled(motion) * (1.0 - _shut(motion))


def _rounding(motion: Float32Array) -> float:
    return min(1.0, float(motion[_PUCKER] + motion[_FUNNEL]))


@kernel
def _accumulate(amounts: Float32Array, fields: Float32Array, out: Float32Array) -> None:
    for c in range(amounts.shape[0]):
        amount = amounts[c]
        if amount != 0.0:
            for i in range(out.shape[0]):
                for k in range(3):
                    out[i, k] += amount * fields[c, i, k]


def build_rig(mesh: WarpMesh) -> FaceRig:
    """Build the rig of a portrait from its warp mesh."""
    axes, scale = _face_frame(mesh)
    face = (mesh.vertices - mesh.centre).astype(np.float64) @ axes.T / scale  # IOD
    lips = LipHandles.of(face)
    channels = channel_fields(lips, face)
    handles = np.array(
        sorted({*lips.vertices.tolist(), *JAW_LINE_SHARE, *STILL_POINTS, *BROWS, *BELOW_BROWS})
    )
    fixed = np.concatenate([handles, np.flatnonzero(mesh.is_far)])
    targets = [field for _, field in channels]
    targets += [round_opening(lips, face), *smile_lost(lips, face)]
    for lower in (True, False):
        targets += [column_field(lips, column, len(face), lower=lower) for column in range(9)]
    values = np.stack(targets, 1).reshape(len(face), -1)[fixed]
    plate = FacePlate(mesh, fixed)
    solved = plate.spread(values).reshape(len(face), -1, 3)
    for index, (name, _) in enumerate(channels):
        if name in BUMPS:
            solved[:, index] += BUMPS[name](face)
    solved[:, len(channels) + 2] += cheeks_lost(lips, face)
    fields = np.ascontiguousarray((solved @ axes * scale).transpose(1, 0, 2), np.float32)
    num = len(channels) + 3
    photo = np.maximum(face[lips.lower_rim, 1] - face[lips.upper_rim, 1], 0.0)
    opening = np.stack([f[lips.lower_rim, 1] - f[lips.upper_rim, 1] for f in targets[:num]])
    names = [name for name, _ in channels]
    jaw = names.index("jawOpen")
    open_jaw = _open_jaw(photo)
    shut = np.maximum(photo - open_jaw * opening[jaw], 0.0)
    widest = float(photo.max())
    return FaceRig(
        channels=np.array([MOTION_INDEX[name] for name, _ in channels], np.int32),
        fields=fields[:num],
        opening=opening.astype(np.float32),
        lower_columns=fields[num : num + NUM_COLUMNS],
        upper_columns=fields[num + NUM_COLUMNS :],
        photo_aperture=shut.astype(np.float32),
        rest_aperture=np.minimum(photo, REST_APERTURE).astype(np.float32),
        jaw_rest=-np.float32(open_jaw) * fields[jaw],
        open_jaw=open_jaw,
        own_aperture=photo.astype(np.float32),
        pushed=(shut - (photo - open_jaw * opening[jaw])).astype(np.float32),
        arch=(opening[jaw] / opening[jaw].max()).astype(np.float32),
        jaw_row=jaw,
        rounding_rows=np.array([names.index("mouthFunnel"), names.index("mouthPucker")]),
        mouth_width=float(np.ptp(face[list(fm.MOUTH_CORNERS), 0])),
        smile=smile_share(lips, face),
        gone_by=max(SHAPE_GONE_BY * FREE_APERTURE / max(widest, FREE_APERTURE), LEAST_GONE_BY),
    )


def _open_jaw(photo_aperture: Float64Array) -> float:
    """How much of jawOpen a portrait's mouth is open by, beyond what lips alone can shut.

    Lips pulled together over a dropped jaw would be a snout: a jaw is shut first.
    """
    widest = float(photo_aperture.max())
    beyond = max(0.0, widest - FREE_APERTURE)
    # Soft at its beginning, so that portraits with parted lips are as they were.
    beyond = beyond**2 / (beyond + FREE_APERTURE)
    return min(beyond / APERTURE_PER_JAW_OPEN, MAX_OPEN_JAW)


def face_axes(mesh: WarpMesh) -> Float32Array:
    """Axes of the face (rows: image right, down, back): float32 [3, 3], px per IOD."""
    axes, scale = _face_frame(mesh)
    return np.asarray(axes * scale, np.float32)


def _face_frame(mesh: WarpMesh) -> tuple[Float64Array, float]:
    """Axes of the face (rows: image right, down, back) and px per IOD along them."""
    v = mesh.vertices.astype(np.float64)
    right, left = fm.OUTER_EYE_CORNERS
    x_axis = v[left] - v[right]
    scale = float(np.linalg.norm(x_axis))
    x_axis /= scale
    down = v[fm.CHIN] - v[fm.FOREHEAD]
    y_axis = down - (down @ x_axis) * x_axis
    y_axis /= np.linalg.norm(y_axis)
    return np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)]), scale
