"""How frames look beside the motion in them: their size, what is behind the person, and where the
rendered square lies when the whole picture is shown. Axis letters: S edge of the rendered square,
H W size of the picture, N vertices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput
from parlante.models.alignment import CropPlan, sample_square
from parlante.models.decoder_mesh import WarpMesh
from parlante.models.portrait_layers import Layers, fine_over, size_layers
from parlante.models.smooth_step import smooth_steps
from parlante.triton.layout import backdrop_key_of
from parlante.types import (
    FRAME_SIZE_PX,
    FRAME_SIZES_PX,
    MOTION_INDEX,
    AvatarLatents,
    BackgroundKind,
    Float32Array,
    Uint8Array,
)

__all__ = [
    "FrameLook",
    "Stage",
    "backdrop_of",
    "build_stage",
    "check_look",
    "fit_backdrop",
    "frame_shape",
    "lay_out",
    "scale_mesh",
]

BLUR_SHARE: Final = 0.025  # sigma of a blurred background, of the frame
# In a whole picture motion fades out towards the edges of the square, over this share of it.
FADE_SHARE: Final = 0.22
FEATHER_SHARE: Final = 0.03
GRID_PX: Final = 32  # the rendered square is a multiple of it
MIN_STAGE_PX: Final = 128
MAX_STAGE_PX: Final = 1088
# What may move in a picture that stays: beyond, the mesh would fold where motion fades out.
_LIMITS: Final = {"headX": 0.5, "headY": 0.4, "headLogScale": 0.18}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameLook:
    """What a stream wants of its frames beside motion.

    Attributes:
        size_px: Edge of square frames; a whole picture has its own size.
        background: What is behind the person.
        colour_rgb: With COLOUR.
        picture: With PICTURE, uint8 [H, W, 3], RGB.
    """

    size_px: int = FRAME_SIZE_PX
    background: BackgroundKind = BackgroundKind.KEPT
    colour_rgb: tuple[int, int, int] = (0, 0, 0)
    picture: Uint8Array | None = None

    @property
    def key(self) -> str:
        """Tells looks apart."""
        told = f"{self.size_px} {self.background.value}"
        if self.background is BackgroundKind.COLOUR:
            told += " {} {} {}".format(*self.colour_rgb)
        if self.background is BackgroundKind.PICTURE and self.picture is not None:
            told += f" {backdrop_key_of(self.picture)}"
        return told

    @classmethod
    def read(cls, key: str) -> tuple[FrameLook, str]:
        """Read a look's key.

        Returns:
            The look without its picture, and the content key of that ("" if it has none).

        Raises:
            ValueError: It is none.
        """
        size, kind, *rest = key.split(" ")
        background = BackgroundKind(kind)
        size_px = int(size)
        if size_px not in FRAME_SIZES_PX:
            raise ValueError(f"no frames have {size_px} px")
        if background is BackgroundKind.COLOUR:
            red, green, blue = (int(value) for value in rest)
            if not all(0 <= value <= 255 for value in (red, green, blue)):
                raise ValueError("a colour is in [0, 255]")
            return cls(size_px=size_px, background=background, colour_rgb=(red, green, blue)), ""
        if len(rest) != (2 if background is BackgroundKind.PICTURE else 0):
            raise ValueError("a picture is told by its size and its digest")
        return cls(size_px=size_px, background=background), " ".join(rest)

    @property
    def keeps_background(self) -> bool:
        """Whether the person stays before the portrait's own background, in focus."""
        return self.background is BackgroundKind.KEPT


def backdrop_of(look: FrameLook, background: Uint8Array) -> Uint8Array:
    """What is drawn behind the person.

    Args:
        look: What is wanted.
        background: uint8 [S, S, 3], the portrait's own.

    Returns:
        uint8 [S, S, 3]; black where it is to be transparent.
    """
    size = background.shape[0]
    match look.background:
        case BackgroundKind.KEPT:
            return background
        case BackgroundKind.BLURRED:
            return np.asarray(cv2.GaussianBlur(background, (0, 0), BLUR_SHARE * size), np.uint8)
        case BackgroundKind.PICTURE if look.picture is not None:
            return _cover(look.picture, size)
        case _:
            return np.full((size, size, 3), look.colour_rgb, np.uint8)


def fit_backdrop(picture: Uint8Array) -> Uint8Array:
    """The middle square of a picture, no larger than any frame needs: uint8 [S, S, 3]."""
    return _cover(picture, min(*picture.shape[:2], max(FRAME_SIZES_PX)))


def frame_shape(latents: AvatarLatents, look: FrameLook) -> tuple[int, int, int]:
    """Height, width and channels of the frames of an avatar in a look."""
    if _shows_picture(latents):
        height, width = latents.tensors["picture"].shape[:2]
        return height, width, 3
    is_clear = look.background is BackgroundKind.TRANSPARENT
    return look.size_px, look.size_px, 4 if is_clear else 3


def check_look(latents: AvatarLatents, look: FrameLook) -> None:
    """Make sure that an avatar can have a look.

    Raises:
        InvalidInput: BACKGROUND_FIXED, the avatar shows its whole picture.
    """
    if _shows_picture(latents) and not look.keeps_background:
        raise InvalidInput(
            "frames that show the whole picture keep its background; create the avatar with the "
            "framing head or shoulders for another",
            reason="BACKGROUND_FIXED",
            field="background",
        )


def _shows_picture(latents: AvatarLatents) -> bool:
    return "picture" in latents.tensors and "placement" in latents.tensors


def lay_out(latents: AvatarLatents, layers: Layers, look: FrameLook) -> tuple[Layers, Stage | None]:
    """Bring an avatar to the size that is rendered.

    Args:
        latents: Of the avatar.
        layers: Its layers at 512 px.
        look: What is wanted of the frames.

    Returns:
        The layers, and the picture around them if that is shown.

    Raises:
        InvalidInput: BACKGROUND_FIXED, the avatar shows its whole picture.
    """
    check_look(latents, look)
    picture, placement = (latents.tensors.get(name) for name in ("picture", "placement"))
    if picture is None or placement is None:
        finest = latents.tensors.get("image_fine")
        fine = None if finest is None else np.array(finest, np.uint8)
        return size_layers(layers, look.size_px, fine), None
    place = np.array(placement, np.float32)
    stage = build_stage(np.array(picture, np.uint8), place)
    return _stage_layers(layers, stage, place), stage


def _cover(picture: Uint8Array, size: int) -> Uint8Array:
    """The middle square of a picture."""
    height, width = picture.shape[:2]
    edge = min(height, width)
    plan = CropPlan(left_px=(width - edge) / 2, top_px=(height - edge) / 2, size_px=float(edge))
    return sample_square(picture, plan, size)[0]


def scale_mesh(mesh: WarpMesh, zoom: float) -> WarpMesh:
    """The mesh of a portrait `zoom` times as large."""
    if zoom == 1.0:
        return mesh
    factor = np.float32(zoom)
    return replace(
        mesh,
        vertices=mesh.vertices * factor,
        pivot=mesh.pivot * factor,
        centre=mesh.centre * factor,
        iod_px=mesh.iod_px * zoom,
    )


# --- whole pictures ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """The whole picture, into which the rendered square is put.

    Attributes:
        picture: uint8 [H, W, 3], RGB.
        box: x0, y0, x1, y1 of the square's part that lies in the picture, px.
        to_square: float64 [2, 3], pixels of the box -> of the square.
        shares: float32 [h, w], of the square in each pixel of the box, 0 at edges within the
            picture, and the rest to 1.
        fades: Which edges of the square lie within the picture: left, top, right, bottom.
        size_px: S.
    """

    picture: Uint8Array
    box: tuple[int, int, int, int]
    to_square: np.ndarray
    shares: tuple[Float32Array, Float32Array]
    fades: tuple[bool, bool, bool, bool]
    size_px: int

    @property
    def num_bytes(self) -> int:
        """Memory of the larger arrays."""
        return self.picture.nbytes + 2 * self.shares[0].nbytes

    def paste(self, square: Uint8Array) -> Uint8Array:
        """Put a rendered square, uint8 [S, S, 3], into the picture: uint8 [H, W, 3]."""
        x0, y0, x1, y1 = self.box
        size = (x1 - x0, y1 - y0)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        part = cv2.warpAffine(
            square, self.to_square, size, flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        out = self.picture.copy()
        own = np.ascontiguousarray(out[y0:y1, x0:x1])
        out[y0:y1, x0:x1] = cv2.blendLinear(part, own, *self.shares)
        return out

    def tame(self, motion: Float32Array) -> Float32Array:
        """Keep the head where the picture has room for it; motion float32 [60], a copy."""
        tamed = motion.copy()
        for name, limit in _LIMITS.items():
            index = MOTION_INDEX[name]
            tamed[index] = limit * np.tanh(motion[index] / limit)
        return tamed

    def hold(self, vertices: Float32Array) -> Float32Array:
        """Share of its motion that each vertex [N, >= 2] of the square makes, float32 [N]."""
        size = np.float32(self.size_px)
        x, y = vertices[:, 0], vertices[:, 1]
        out = np.ones(len(vertices), np.float32)
        edges = (x, y, size - x, size - y)
        for fades, distance in zip(self.fades, edges, strict=True):
            if fades:
                out *= smooth_steps(distance / (FADE_SHARE * size))
        return out


def build_stage(picture: Uint8Array, placement: Float32Array) -> Stage:
    """Prepare the putting together.

    Args:
        picture: uint8 [H, W, 3].
        placement: float32 [3], left, top and size of the square in the picture, px.
    """
    left, top, size = (float(v) for v in placement)
    height, width = picture.shape[:2]
    square = int(np.clip(GRID_PX * round(size / GRID_PX), MIN_STAGE_PX, MAX_STAGE_PX))
    x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x1, y1 = min(width, int(np.ceil(left + size))), min(height, int(np.ceil(top + size)))
    zoom = square / size
    shift = [(start + 0.5 - edge) * zoom - 0.5 for start, edge in ((x0, left), (y0, top))]
    fades = (left > 1.0, top > 1.0, left + size < width - 1.0, top + size < height - 1.0)
    feather = max(2.0, FEATHER_SHARE * size)
    x = np.arange(x0, x1, dtype=np.float32) + 0.5
    y = np.arange(y0, y1, dtype=np.float32) + 0.5
    across = np.minimum(
        _ramp(x - left, feather, on=fades[0]), _ramp(left + size - x, feather, on=fades[2])
    )
    down = np.minimum(
        _ramp(y - top, feather, on=fades[1]), _ramp(top + size - y, feather, on=fades[3])
    )
    share = np.minimum(across[None], down[:, None])
    return Stage(
        picture=picture,
        box=(x0, y0, x1, y1),
        to_square=np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]]),
        shares=(share, np.float32(1.0) - share),
        fades=fades,
        size_px=square,
    )


def _ramp(distance: npt.NDArray[np.floating], reach: float, *, on: bool) -> Float32Array:
    if not on:
        return np.ones(distance.shape, np.float32)
    return np.asarray(np.clip(distance / reach, 0.0, 1.0), np.float32)


def _stage_layers(layers: Layers, stage: Stage, placement: Float32Array) -> Layers:
    """Layers of the square, with the detail of the picture around it.

    Args:
        layers: At 512 px.
        stage: From `build_stage`.
        placement: What it was built from.
    """
    left, top, size = (float(v) for v in placement)
    plan = CropPlan(left_px=left, top_px=top, size_px=size)
    cut, shown = sample_square(stage.picture, plan, stage.size_px)
    return size_layers(layers, stage.size_px, fine_over(layers.image, cut, shown))
