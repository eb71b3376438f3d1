"""The decoder: an avatar's latents and one frame of motion -> pixels.

Geometry in plain sight: the portrait's own pixels, carried by a mesh that a rig and a head pose
move, over an in-painted background; eyes and the inside of the mouth are drawn where no warp can
help. One frame runs on one thread and releases the GIL in its loops.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models import face_mesh as fm
from parlante.models.chin_cover import find_chin_cover
from parlante.models.cover_layer import put_before, take_out
from parlante.models.decoder_canvas import (
    PAD_SIDE_PX,
    PAD_TOP_PX,
    hair_above,
    make_sized_canvas,
    soften_matte,
)
from parlante.models.decoder_latents import (
    PICTURE_SHAPE,
    check_face,
    mean_face_latents,
    take_tensor,
)
from parlante.models.decoder_mesh import WarpMesh, build_mesh, flap_targets, with_flaps
from parlante.models.drawing import find_seam, is_drawing
from parlante.models.eyes import EyeLayers, build_eyes, render_eye, white_of
from parlante.models.face_mesh import Int32Array
from parlante.models.face_regions import DrawnFrame, cut_regions
from parlante.models.face_rig import FaceRig, build_rig, face_axes
from parlante.models.film_grain import FilmGrain
from parlante.models.fold_edges import soften_folds
from parlante.models.frame_geometry import (
    INNER_LIPS,
    OVAL,
    FrameGeometry,
    geometry_from_motion,
    geometry_of_portrait,
    sharp_box,
)
from parlante.models.frame_look import (
    FrameLook,
    Stage,
    backdrop_of,
    lay_out,
    scale_mesh,
)
from parlante.models.lip_fill import fill_opening
from parlante.models.lip_opening import refine_lips
from parlante.models.mouth import MouthLayers, as_drawn, build_mouth, render_mouth
from parlante.models.mouth_patches import (
    MouthPatch,
    own_mouth_of,
    plain_corners_of,
    show_patch,
)
from parlante.models.portrait_layers import Layers, cut_out, keep_still, unmix
from parlante.models.skin_grain import skin_grain
from parlante.models.spectacle_layer import put_on, take_off
from parlante.models.spectacles import find_spectacles
from parlante.models.stiff_layer import StiffLayer, draw_stiff
from parlante.models.warp import blend_over, raster_flow
from parlante.types import (
    AVATAR_SPACE,
    FRAME_SIZE_PX,
    MOTION_DIM,
    AvatarLatents,
    BackgroundKind,
    Float32Array,
    Uint8Array,
)

if TYPE_CHECKING:
    from parlante.models.face_retouch import FaceAppearance, FaceRetouch

CANVAS_OFFSET: Final = (float(PAD_SIDE_PX), float(PAD_TOP_PX))
_PLAIN: Final = FrameLook()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedAvatar:
    """All that does not change from frame to frame; immutable, so streams may share it.

    Attributes:
        key: Content key of the avatar.
        image: uint8 [S, S, 3], RGB.
        background: uint8 [S, S, 3], RGB, what is drawn behind the person.
        canvas: uint8 [H, W, 4], the portrait continued beyond its frame, with its matte.
        mesh: Warp mesh.
        rig: Expressions.
        eyes: The subject's right and left eye.
        mouth: Inside of the mouth.
        own_mouth: The photo's own, for when nothing moves it.
        plain_corners: Cheeks without the ends of the photo's mouth, for rounded or wide open lips.
        triangles: int32 [M, 3], of mesh and lip flaps, far ones first.
        source: float32 [N, 2], px of the canvas, of mesh and flap vertices.
        yaw: How far the portrait itself is turned, rad.
        canvas_offset: Position of the portrait on the canvas, px.
        is_clear: True for frames with alpha instead of a background.
        stage: The whole picture, if that is shown.
        hold: float32 [N], share of its motion that each vertex makes, None = all of it.
        appearance: What the face network made of the portrait; None without one.
        stiff: Spectacles and things before the chin, of which `image` and `canvas` are bare; None
            without.
    """

    key: str
    image: Uint8Array
    background: Uint8Array
    canvas: Uint8Array
    mesh: WarpMesh
    rig: FaceRig
    eyes: tuple[EyeLayers, EyeLayers]
    mouth: MouthLayers
    own_mouth: MouthPatch
    plain_corners: MouthPatch
    triangles: Int32Array
    source: Float32Array
    yaw: float
    canvas_offset: tuple[float, float] = CANVAS_OFFSET
    is_clear: bool = False
    stage: Stage | None = None
    hold: Float32Array | None = None
    appearance: FaceAppearance | None = None
    stiff: StiffLayer | None = None

    @property
    def num_bytes(self) -> int:
        """Memory of the larger arrays."""
        rig = self.rig
        arrays = (self.image, self.background, self.canvas, self.triangles, self.source)
        fields = (rig.fields, rig.lower_columns, rig.upper_columns)
        held = 0 if self.appearance is None else self.appearance.num_bytes
        held += 0 if self.stage is None else self.stage.num_bytes
        held += 0 if self.stiff is None else self.stiff.num_bytes
        return held + sum(a.nbytes for a in (*arrays, *fields))

    @property
    def size_px(self) -> int:
        """Edge S of the square that is rendered."""
        return int(self.image.shape[0])

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its frames."""
        if self.stage is not None:
            height, width = self.stage.picture.shape[:2]
            return height, width, 3
        return self.size_px, self.size_px, 4 if self.is_clear else 3


class Decoder:
    """Renders avatars; safe for use from several threads, each with its own scratch memory.

    Args:
        retouch: Network that retouches what the warp drew; None leaves frames as drawn.
    """

    def __init__(self, retouch: FaceRetouch | None = None) -> None:
        self._local = threading.local()
        self._retouch = retouch

    def prepare(self, latents: AvatarLatents, look: FrameLook = _PLAIN) -> PreparedAvatar:
        """Do the work that is the same for all frames of an avatar.

        Args:
            latents: Of the avatar.
            look: Size and background of the frames.

        Raises:
            FailedPrecondition: The latents are of another space or lack a tensor.
            InvalidInput: FRAME_SIZE_FIXED or BACKGROUND_FIXED, the avatar shows its whole picture.
        """
        if latents.spec.space != AVATAR_SPACE:
            raise FailedPrecondition(
                f"avatar latents of space {AVATAR_SPACE} are needed; got "
                f"{latents.spec.space[:60]!r}; encode the portrait again",
                reason="LATENT_SPACE_MISMATCH",
            )
        image, background = (
            take_tensor(latents, name, PICTURE_SHAPE) for name in ("image", "background")
        )
        matte = take_tensor(latents, "matte", PICTURE_SHAPE[:2])
        landmarks = take_tensor(latents, "landmarks", (fm.NUM_LANDMARKS, 3)).astype(np.float32)
        check_face(landmarks)
        is_drawn = is_drawing(image, landmarks)
        landmarks = refine_lips(image, landmarks, find_seam(image, landmarks) if is_drawn else None)
        spectacles = find_spectacles(image, landmarks)
        cover = None if is_drawn else find_chin_cover(image, landmarks)
        base = Layers(image=image, matte=matte, background=background)
        layers, stage = lay_out(latents, base, look)
        zoom = layers.image.shape[0] / FRAME_SIZE_PX
        mesh = scale_mesh(build_mesh(landmarks, matte), zoom)
        landmarks = landmarks * np.float32(zoom)
        held = worn = None
        if cover is not None:
            held = take_out(cover.scaled(zoom), layers, landmarks)
        if held is not None:
            layers = replace(layers, image=held.bare)
        if spectacles is not None:
            worn = take_off(spectacles.scaled(zoom), layers.image, landmarks)
            layers = replace(layers, image=worn.bare)
        image = layers.image
        grain = skin_grain(image, landmarks)
        are_hidden = worn is not None and worn.hides_eyes
        eyes = build_eyes(image, landmarks, grain, is_drawn=is_drawn, are_hidden=are_hidden)
        axes = face_axes(mesh)
        half = image.shape[0] // 2  # the upper: most of the background, and half of the time
        film = FilmGrain.of(image[:half].astype(np.float32), layers.matte[:half] == 0)
        # Leaves or bricks pass for grain, but the face before them has none of it.
        seen = min(film.light, float(grain.mean(axis=-1).std())) if film.is_coarse else 0.0
        mouth = build_mouth(image, mesh.vertices, axes, white_of(eyes), seen)
        if is_drawn:
            mouth = as_drawn(mouth, image, mesh.vertices)
        skin = image if mouth.is_closed else fill_opening(image, mesh.vertices)
        own_mouth = own_mouth_of(image, skin, mesh.vertices)
        rig = build_rig(mesh)
        plain_corners = plain_corners_of(skin, mesh.vertices, grain, rig.smile)
        if is_drawn:  # ends of lines are no shade
            plain_corners = plain_corners.hidden()
        if look.keeps_background:
            layers = keep_still(layers)
            skin, alpha = unmix(replace(layers, image=skin), soften_matte(layers.matte))
        else:
            skin, alpha = cut_out(replace(layers, image=skin))
        offset = (CANVAS_OFFSET[0] * zoom, CANVAS_OFFSET[1] * zoom)
        layer = None
        if worn is not None:
            layer, mesh, rig = put_on(worn, mesh, rig)
        if held is not None:
            over, mesh, rig = put_before(held, mesh, rig)
            layer = over if layer is None else layer.with_next(over)
        source, triangles = with_flaps(mesh)
        avatar = PreparedAvatar(
            key=latents.key,
            image=image,
            background=backdrop_of(look, layers.background),
            canvas=make_sized_canvas(skin, alpha, matte, hair_above(landmarks) / zoom),
            mesh=mesh,
            rig=rig,
            eyes=eyes,
            mouth=mouth,
            own_mouth=own_mouth,
            plain_corners=plain_corners,
            triangles=triangles,
            yaw=float(np.arctan2(axes[0, 2], axes[0, 0])),
            source=source + np.array(offset, np.float32),
            canvas_offset=offset,
            is_clear=look.background is BackgroundKind.TRANSPARENT,
            stage=stage,
            stiff=layer,
            hold=None if stage is None else stage.hold(mesh.vertices),
        )
        if self._retouch is None or avatar.size_px != FRAME_SIZE_PX:
            return avatar  # the network knows frames of one size
        appearance = self._retouch.prepare(avatar, geometry_of_portrait(avatar))
        return replace(avatar, appearance=appearance)

    def warm_up(self) -> None:
        """Compile the pixel loops, or load them from their cache."""
        avatar = self.prepare(mean_face_latents())
        motion = np.full(MOTION_DIM, 0.1, np.float32)
        self.render(avatar, motion)

    def render(
        self, avatar: PreparedAvatar, motion: Float32Array, out: Uint8Array | None = None
    ) -> Uint8Array:
        """Render one frame.

        Args:
            avatar: From `prepare`.
            motion: float32 [60], in the order of `MOTION_CHANNELS`.
            out: Where to, uint8 of the avatar's `frame_shape`, contiguous; None = a new array.

        Returns:
            uint8 [H, W, 3], RGB, or [H, W, 4], RGB and alpha, not premultiplied; square frames of
            the avatar's size, or the whole picture. The caller owns it.

        Raises:
            InvalidInput: The motion has another shape or is not finite.
        """
        if motion.shape != (MOTION_DIM,) or not np.isfinite(motion).all():
            raise InvalidInput(
                f"motion must be {MOTION_DIM} finite numbers; got shape {list(motion.shape)}",
                reason="NON_FINITE_MOTION",
                field="motion",
            )
        motion = np.ascontiguousarray(motion, np.float32)
        if avatar.stage is not None:
            motion = avatar.stage.tame(motion)
        return self.render_posed(avatar, geometry_from_motion(avatar, motion), out)

    def render_posed(
        self, avatar: PreparedAvatar, geometry: FrameGeometry, out: Uint8Array | None = None
    ) -> Uint8Array:
        """Render one frame whose shape is known.

        Args:
            avatar: From `prepare`.
            geometry: Of `geometry_from_motion`, or of a `ShapeFitter`.
            out: As of `render`.

        Returns:
            As `render`; the caller owns it.
        """
        is_drawn_in_place = avatar.stage is None and not avatar.is_clear
        drawn = self.draw(avatar, geometry, out if is_drawn_in_place else None)
        if self._retouch is not None and avatar.appearance is not None:
            regions = cut_regions(avatar, geometry, drawn, with_frame=self._retouch.needs_frame)
            self._retouch.apply(avatar.appearance, regions, drawn.pixels)
        if is_drawn_in_place:
            return drawn.pixels
        if avatar.stage is None:
            pixels = np.dstack([drawn.pixels, drawn.matte])
        else:
            pixels = avatar.stage.paste(drawn.pixels)
        if out is None:
            return pixels
        out[:] = pixels
        return out

    def draw(
        self, avatar: PreparedAvatar, geometry: FrameGeometry, out: Uint8Array | None = None
    ) -> DrawnFrame:
        """Draw one frame, uint8 [S, S, 3], without any retouching.

        The maps of the result are this thread's scratch memory: they hold until it draws again.
        """
        scratch = self._scratch(avatar.size_px)
        posed = geometry.posed
        target = np.concatenate([posed, flap_targets(posed)])
        scratch.map_x.fill(-16.0)
        raster_flow(target, avatar.source, avatar.triangles, scratch.map_x, scratch.map_y)
        maps = (scratch.map_x, scratch.map_y)
        iod_px = avatar.mesh.iod_px * geometry.pose.scale
        _sample(avatar.canvas, maps, posed[OVAL], iod_px, scratch.rgba)
        if out is None:
            out = np.empty(avatar.image.shape, np.uint8)
        if avatar.is_clear:
            out[:] = scratch.rgba[..., :3]
        else:
            blend_over(scratch.rgba, avatar.background, out)
        for eye, state in zip(avatar.eyes, geometry.eyes, strict=True):
            render_eye(eye, avatar.image, state, posed, maps, avatar.canvas_offset, out)
        self._draw_mouth(avatar, geometry, maps, out)
        if avatar.stiff is not None:
            draw_stiff(avatar.stiff, posed, out, scratch.rgba[..., 3])
        return DrawnFrame(pixels=out, maps=maps, matte=scratch.rgba[..., 3])

    def _draw_mouth(
        self,
        avatar: PreparedAvatar,
        geometry: FrameGeometry,
        maps: tuple[Float32Array, Float32Array],
        out: Uint8Array,
    ) -> None:
        posed, offset = geometry.posed, avatar.canvas_offset
        show_patch(avatar.plain_corners, geometry.narrowing, posed, maps, offset, out)
        if geometry.own_mouth < 1.0:
            render_mouth(
                avatar.mouth, posed[INNER_LIPS], geometry.mouth_frame, geometry.jaw,
                geometry.tongue_out, geometry.labiodental, out,
            )  # fmt: skip
        show_patch(avatar.own_mouth, geometry.own_mouth, posed, maps, offset, out)

    def _scratch(self, size_px: int) -> _Scratch:
        """This thread's buffers for a size; a few sizes are kept, as streams take turns."""
        kept: dict[int, _Scratch] | None = getattr(self._local, "scratch", None)
        if kept is None:
            kept = self._local.scratch = {}
        if size_px not in kept:
            while len(kept) >= MAX_SCRATCH_SIZES:
                del kept[next(iter(kept))]
            kept[size_px] = _Scratch(size_px)
        return kept[size_px]


class _Scratch:
    """Buffers of one thread, reused from frame to frame."""

    def __init__(self, size_px: int) -> None:
        shape = (size_px, size_px)
        self.map_x = np.zeros(shape, np.float32)
        self.map_y = np.zeros(shape, np.float32)
        self.rgba = np.zeros((*shape, 4), np.uint8)


MAX_SCRATCH_SIZES: Final = 4


def _sample(
    canvas: Uint8Array,
    maps: tuple[Float32Array, Float32Array],
    oval: Float32Array,
    iod_px: float,
    out: Uint8Array,
) -> None:
    """Fetch the pixels of a frame; the face by cubic interpolation, the rest by linear.

    Linear interpolation takes a third of the fine contrast at half a pixel, so that a slowly
    moving face would pulse between sharp and soft; cubic takes 8 %, but costs five times as much.
    """
    border = cv2.BORDER_CONSTANT
    cv2.remap(canvas, *maps, cv2.INTER_LINEAR, out, borderMode=border)
    x0, y0, x1, y1 = sharp_box(oval, iod_px, (out.shape[1], out.shape[0])).tolist()
    if x1 > x0 and y1 > y0:
        face = (slice(y0, y1), slice(x0, x1))
        map_x, map_y = maps[0][face], maps[1][face]
        sharp = cv2.remap(canvas, map_x, map_y, cv2.INTER_CUBIC, borderMode=border)
        out[face] = sharp
        soften_folds(sharp, map_x, map_y, out[face])
