"""Draws a head mesh with OpenGL: colour, matte and the triangle that each pixel shows.

Runs on a graphics card and on Mesa's software rasteriser alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2
import moderngl
import numpy as np

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.synth import shaders
from parlante.synth.assets import Float64Array, HeadPack, Int32Array
from parlante.synth.camera import Camera
from parlante.synth.head_mesh import HeadMesh
from parlante.synth.kernels import add_access, gather_corners, shade_points
from parlante.synth.light import Light
from parlante.types import Float32Array, Uint8Array

__all__ = ["DrawCall", "Picture", "Renderer", "Scene"]

SHADOW_SIZE_PX: Final = 640
ACCESS_SIZE_PX: Final = 256
SHADOW_RADIUS_DM: Final = 2.6
SHADOW_DEPTH_DM: Final = 9.0
SHADOW_BIAS: Final = 0.0012
NUM_SHADOW_TAPS: Final = 24
SAMPLES: Final = 4
NOISE_SIZE_PX: Final = 256
# OpenGL's name for coverage by opacity, which moderngl has no constant for.
SAMPLE_ALPHA_TO_COVERAGE: Final = 0x809E
SAMPLE_ALPHA_TO_ONE: Final = 0x809F
ATLAS_SIZE_PX: Final = 2048
HEAD_CROP_CORNER: Final = (1280, 340)  # of the skins' fine crop in the atlas
# Textures of the last subjects are kept; a skin with its mipmaps is 16 MB.
MAX_TEXTURES: Final = 48
WHITE: Final = "white"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawCall:
    """How one part of a mesh is drawn.

    Attributes:
        part: Name of the part.
        material: One of `shaders.MATERIALS`.
        albedo: Texture of its colour, a file in the pack's ``tex`` or ``skin:NAME``.
        alpha: Texture of its opacity.
        uniforms: Values of the material.
        blend: ``none``, ``over``, ``add`` or ``cover``: opacity as the share of a pixel's samples.
        two_sided: Draw triangles seen from behind too.
        casts_shadow: Whether it is in the shadow map.
        index_cut: Opacity from which a pixel belongs to this part in the index map; 0 = always,
            2 = never.
        beard_cut: The same for the beard mask.
        in_colour: Whether it is in the picture, or in the index map only.
    """

    part: str
    material: str
    albedo: str = WHITE
    alpha: str = WHITE
    uniforms: Mapping[str, Any] = field(default_factory=dict)
    blend: str = "none"
    two_sided: bool = False
    casts_shadow: bool = True
    index_cut: float = 0.0
    beard_cut: float = -1.0
    in_colour: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What stays the same over a subject's frames.

    Attributes:
        camera: The camera.
        light: The light, fixed in the world.
        calls: Draw calls in order; a part may come twice.
        background: uint8 [H, W, 3], RGB.
        uniforms: Values that all materials may use.
        mouth: float64 [3], middle of the front teeth at rest, dm.
    """

    camera: Camera
    light: Light
    calls: tuple[DrawCall, ...]
    background: Uint8Array
    uniforms: Mapping[str, Any]
    mouth: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One drawn frame.

    Attributes:
        rgb: uint8 [H, W, 3].
        matte: uint8 [H, W], 255 = person or what is in front of it.
        index: int32 [H, W], triangle + 1, 0 = none.
    """

    rgb: Uint8Array
    matte: Uint8Array
    index: Int32Array


class Renderer:
    """An OpenGL context without a window, and the programs in it.

    Args:
        pack: Gives the textures.
        size_px: Edge of the pictures.

    Raises:
        FailedPrecondition: No OpenGL 3.3 can be started (reason ``NO_OPENGL``).
    """

    def __init__(self, pack: HeadPack, *, size_px: int) -> None:
        self.size_px = size_px
        self._pack = pack
        self._context = _open_context()
        context = self._context
        context.front_face = "cw"  # the camera draws upside down, so that row 0 is the top
        self._programs = {
            name: context.program(*shaders.material_source(name)) for name in shaders.MATERIALS
        }
        self._shadow_program = context.program(*shaders.SHADOW)
        self._index_program = context.program(*shaders.INDEX)
        self._background = context.vertex_array(context.program(*shaders.BACKGROUND), [])
        edge = (size_px, size_px)
        self._colour = context.framebuffer(
            [context.renderbuffer(edge, 4, samples=SAMPLES)],
            context.depth_renderbuffer(edge, samples=SAMPLES),
        )
        self._resolved = context.framebuffer([context.renderbuffer(edge, 4)])
        self._index = context.framebuffer(
            [context.renderbuffer(edge, 1, dtype="u4")], context.depth_renderbuffer(edge)
        )
        self._shadow_map = context.depth_texture((SHADOW_SIZE_PX, SHADOW_SIZE_PX))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow = context.framebuffer(depth_attachment=self._shadow_map)
        noise = np.random.default_rng(0).integers(0, 256, (NOISE_SIZE_PX, NOISE_SIZE_PX, 4))
        self._noise = context.texture(
            (NOISE_SIZE_PX, NOISE_SIZE_PX), 4, noise.astype(np.uint8).tobytes()
        )
        self._noise.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._access_map = context.depth_texture((ACCESS_SIZE_PX, ACCESS_SIZE_PX))
        self._access = context.framebuffer(depth_attachment=self._access_map)
        self._textures: dict[str, moderngl.Texture] = {}
        self._greys: dict[str, float] = {}
        self._loaded: _LoadedMesh | None = None

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back, the context last."""
        if self._loaded is not None:
            self._loaded.release()
        for texture in self._textures.values():
            texture.release()
        self._textures.clear()
        self._context.release()

    @property
    def device(self) -> str:
        """Name of the device that draws."""
        return str(self._context.info["GL_RENDERER"])

    def load(self, mesh: HeadMesh, scene: Scene) -> None:
        """Upload what stays the same over a subject's frames."""
        if self._loaded is not None:
            self._loaded.release()
        programs = {call.material: self._programs[call.material] for call in scene.calls}
        shadow_parts = {call.part for call in scene.calls if call.casts_shadow}
        self._loaded = _LoadedMesh(
            self._context, mesh, programs, self._index_program, self._shadow_program, shadow_parts
        )
        background = self._context.texture(
            (self.size_px, self.size_px), 3, np.ascontiguousarray(scene.background), alignment=1
        )
        self._loaded.background = background
        for call in scene.calls:
            for name in (call.albedo, call.alpha):
                self._texture(name)
            self._write_uniforms(self._programs[call.material], scene)

    def draw(
        self,
        mesh: HeadMesh,
        scene: Scene,
        points: Float32Array,
        normals: Float32Array,
        matrices: Float32Array,
    ) -> Picture:
        """Draw one frame of the mesh that was loaded last.

        Args:
            mesh: The mesh.
            scene: The scene.
            points: float32 [N, 3], of `HeadMesh.pose`.
            normals: float32 [N, 3].
            matrices: float32 [B + 1, 3, 4].
        """
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("load() comes before draw()")
        loaded.write_points(points)
        lit = self._draw_shadow(loaded, scene, points, normals)
        loaded.write(mesh, points, normals, lit)
        self._draw_colour(loaded, mesh, scene, matrices)
        index = self._draw_index(loaded, mesh, scene)
        self._context.copy_framebuffer(self._resolved, self._colour)
        raw = np.frombuffer(self._resolved.read(components=4), np.uint8)
        raw = raw.reshape(self.size_px, self.size_px, 4)
        return Picture(
            rgb=np.ascontiguousarray(raw[..., :3]),
            matte=np.ascontiguousarray(raw[..., 3]),
            index=index,
        )

    def mean_grey(self, name: str) -> float:
        """Mean brightness of a texture, (0, 1]."""
        self._texture(name)
        return max(self._greys[name], 0.02)

    def access(
        self,
        mesh: HeadMesh,
        points: Float32Array,
        normals: Float32Array,
        centre: Float64Array,
        directions: Float64Array,
    ) -> Float32Array:
        """How open each point is to light from all sides.

        Args:
            mesh: The mesh that was loaded last.
            points: float32 [N, 3].
            normals: float32 [N, 3].
            centre: float64 [3], middle of what is drawn, dm.
            directions: float64 [D, 3], where light comes from.

        Returns:
            float32 [N], [0, 1].
        """
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("load() comes before access()")
        loaded.write_points(points)
        seen = np.zeros(len(points), np.float32)
        total = np.full(len(points), 1e-6, np.float32)
        for direction in directions:
            matrix = shadow_matrix(direction, centre)
            self._access.use()
            self._access.clear(depth=1.0)
            self._context.enable_only(moderngl.DEPTH_TEST)
            self._shadow_program["clip"].write(_gl(matrix))
            loaded.shadow.render()
            depth = np.frombuffer(self._access_map.read(), np.float32)
            depth = depth.reshape(ACCESS_SIZE_PX, ACCESS_SIZE_PX)
            add_access(
                points,
                normals,
                _unit_cube(matrix),
                direction.astype(np.float32),
                depth,
                seen,
                total,
            )
        return np.asarray(seen / total, np.float32)

    def _draw_shadow(
        self, loaded: _LoadedMesh, scene: Scene, points: Float32Array, normals: Float32Array
    ) -> Float32Array:
        """Draw the shadow map; gives how much of the key light reaches each point."""
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        matrix = _shadow_of(scene)
        self._shadow_program["clip"].write(_gl(matrix))
        loaded.shadow.render()
        depth = np.frombuffer(self._shadow_map.read(), np.float32)
        depth = depth.reshape(SHADOW_SIZE_PX, SHADOW_SIZE_PX)
        clip = _unit_cube(matrix)
        radius_px = scene.light.softness_dm / (2.0 * SHADOW_RADIUS_DM) * SHADOW_SIZE_PX
        lit = np.empty(len(points), np.float32)
        shade_points(
            points, normals, clip, depth, _SHADOW_TAPS * np.float32(radius_px), SHADOW_BIAS, lit
        )
        return lit

    def _draw_colour(
        self, loaded: _LoadedMesh, mesh: HeadMesh, scene: Scene, matrices: Float32Array
    ) -> None:
        context = self._context
        self._colour.use()
        self._colour.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        context.enable_only(moderngl.NOTHING)
        if loaded.background is not None:
            loaded.background.use(0)
        self._background.render(vertices=3)
        head = np.eye(4)
        head[:3] = matrices[self._pack.bones.index("head")]
        inverse = np.linalg.inv(head)[:3].astype(np.float32).tobytes()  # rows, as mat3x4
        self._shadow_map.use(5)
        self._noise.use(6)
        for call in scene.calls:
            span = mesh.spans.get(call.part)
            if span is None or span[0] == span[1] or not call.in_colour:
                continue
            self._set_state(call)
            program = self._programs[call.material]
            self._texture(call.albedo).use(0)
            self._texture(call.alpha).use(1)
            _set(program, "head_inverse", inverse)
            for name, value in call.uniforms.items():
                _set(program, name, value)
            loaded.arrays[call.material].render(vertices=3 * (span[1] - span[0]), first=3 * span[0])
        self._colour.depth_mask = True
        self._context.disable_direct(SAMPLE_ALPHA_TO_COVERAGE)
        self._context.disable_direct(SAMPLE_ALPHA_TO_ONE)

    def _set_state(self, call: DrawCall) -> None:
        context = self._context
        flags = moderngl.DEPTH_TEST
        if not call.two_sided:
            flags |= moderngl.CULL_FACE
        if call.blend == "cover":
            context.enable_direct(SAMPLE_ALPHA_TO_COVERAGE)
            context.enable_direct(SAMPLE_ALPHA_TO_ONE)
        else:
            context.disable_direct(SAMPLE_ALPHA_TO_COVERAGE)
            context.disable_direct(SAMPLE_ALPHA_TO_ONE)
        if call.blend in ("over", "add"):
            flags |= moderngl.BLEND
            source = moderngl.SRC_ALPHA if call.blend == "over" else moderngl.ONE
            rest = moderngl.ONE_MINUS_SRC_ALPHA if call.blend == "over" else moderngl.ONE
            alpha = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
            context.blend_func = (source, rest, *alpha)  # type: ignore[assignment]
        context.enable_only(flags)
        self._colour.depth_mask = call.blend in ("none", "cover")

    def _draw_index(self, loaded: _LoadedMesh, mesh: HeadMesh, scene: Scene) -> Int32Array:
        self._index.use()
        self._index.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)
        program = self._index_program
        drawn: set[str] = set()
        for call in scene.calls:
            span = mesh.spans.get(call.part)
            if span is None or span[0] == span[1] or call.index_cut > 1.0 or call.part in drawn:
                continue
            drawn.add(call.part)
            flags = moderngl.DEPTH_TEST
            if not call.two_sided:
                flags |= moderngl.CULL_FACE
            self._context.enable_only(flags)
            self._texture(call.alpha).use(1)
            program["first"] = span[0]
            program["cut"] = call.index_cut
            program["beard_cut"] = call.beard_cut
            loaded.index.render(vertices=3 * (span[1] - span[0]), first=3 * span[0])
        raw = np.frombuffer(self._index.read(components=1, dtype="u4"), np.uint32)
        return raw.reshape(self.size_px, self.size_px).astype(np.int32)

    def _write_uniforms(self, program: moderngl.Program, scene: Scene) -> None:
        light, camera = scene.light, scene.camera
        values: dict[str, Any] = {
            "clip": _gl(camera.clip_matrix()),
            "shadow_clip": _gl(_shadow_of(scene)),
            "softness": light.softness_dm / SHADOW_RADIUS_DM / 2.0 * 0.5,
            "key_direction": light.key_direction,
            "key": light.key,
            "fill_directions": light.fill_directions,
            "fills": light.fills,
            "sky": light.sky,
            "ground": light.ground,
            "eye": camera.eye,
            "mouth": scene.mouth,
            **scene.uniforms,
        }
        for name, value in values.items():
            _set(program, name, value)
        for name, unit in (
            ("albedo_map", 0),
            ("alpha_map", 1),
            ("shadow_map", 5),
            ("noise_map", 6),
        ):
            _set(program, name, unit)
        self._index_program["clip"].write(_gl(camera.clip_matrix()))
        _set(self._index_program, "alpha_map", 1)

    def _texture(self, name: str) -> moderngl.Texture:
        """Texture of this name, uploaded when it is wanted first."""
        if name in self._textures:
            self._textures[name] = self._textures.pop(name)  # the newest is last
            return self._textures[name]
        while len(self._textures) >= MAX_TEXTURES:
            self._textures.pop(next(iter(self._textures))).release()
        picture = _read_texture(self._pack.directory / "tex", name)
        components = 1 if picture.ndim == 2 else picture.shape[2]
        texture = self._context.texture(
            (picture.shape[1], picture.shape[0]), components, picture.tobytes(), alignment=1
        )
        self._greys[name] = float(picture.mean()) / 255.0
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._textures[name] = texture
        return texture


class _LoadedMesh:
    """The buffers of one mesh."""

    def __init__(
        self,
        context: moderngl.Context,
        mesh: HeadMesh,
        programs: Mapping[str, moderngl.Program],
        index_program: moderngl.Program,
        shadow_program: moderngl.Program,
        shadow_parts: set[str],
    ) -> None:
        self.background: moderngl.Texture | None = None
        num_corners = len(mesh.corner_point)
        self._staging = np.empty((num_corners, 7), np.float32)
        self._moving = context.buffer(reserve=self._staging.nbytes, dynamic=True)
        fixed = np.concatenate([mesh.corner_uv, mesh.masks[mesh.corner_point]], axis=1)
        self._fixed = context.buffer(np.ascontiguousarray(fixed, np.float32).tobytes())
        self._corners = context.buffer(mesh.corner_triangles.astype(np.uint32).tobytes())
        content: list[Any] = [
            (self._moving, "3f 3f 1f", "in_point", "in_normal", "in_lit"),
            (self._fixed, "2f 4f 4f", "in_uv", "in_mask_a", "in_mask_b"),
        ]
        self.arrays = {
            name: context.vertex_array(program, content, self._corners, skip_errors=True)
            for name, program in programs.items()
        }
        self.index = context.vertex_array(index_program, content, self._corners, skip_errors=True)
        self._shadow_points = context.buffer(reserve=mesh.rest.nbytes, dynamic=True)
        spans = [mesh.spans[part] for part in sorted(shadow_parts) if part in mesh.spans]
        casting = np.concatenate([mesh.triangles[start:stop] for start, stop in spans])
        self._shadow_corners = context.buffer(casting.astype(np.uint32).tobytes())
        self.shadow = context.vertex_array(
            shadow_program, [(self._shadow_points, "3f", "in_point")], self._shadow_corners
        )

    def write_points(self, points: Float32Array) -> None:
        """Upload what the shadow map is drawn from."""
        self._shadow_points.write(np.ascontiguousarray(points))

    def write(
        self, mesh: HeadMesh, points: Float32Array, normals: Float32Array, lit: Float32Array
    ) -> None:
        """Upload one frame."""
        gather_corners(points, normals, lit, mesh.corner_point, self._staging)
        self._moving.write(self._staging)

    def release(self) -> None:
        """Give the buffers back."""
        for array in (*self.arrays.values(), self.index, self.shadow):
            array.release()
        for item in (
            self._moving,
            self._fixed,
            self._corners,
            self._shadow_points,
            self._shadow_corners,
            self.background,
        ):
            if item is not None:
                item.release()


def _disc(number: int) -> Float32Array:
    """Even points of the unit disc, float32 [K, 2]."""
    index = np.arange(number) + 0.5
    angle = np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(index / number)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


_SHADOW_TAPS: Final = _disc(NUM_SHADOW_TAPS)


def _open_context() -> moderngl.Context:
    try:
        return moderngl.create_standalone_context(require=330, backend="egl")
    except Exception as error:  # moderngl raises bare Exception
        raise FailedPrecondition(
            "cannot start OpenGL 3.3 through EGL; on Debian: "
            "apt-get install -y libegl1 libgl1 libgl1-mesa-dri",
            reason="NO_OPENGL",
        ) from error


def shadow_matrix(direction: Float64Array, centre: Float64Array) -> Float64Array:
    """Scene -> clip space of a parallel light, float64 [4, 4]."""
    up = np.array([1.0, 0.0, 0.0]) if abs(direction[1]) > 0.95 else np.array([0.0, 1.0, 0.0])
    right = np.cross(up, direction)
    right /= np.linalg.norm(right)
    rows = np.stack([right, np.cross(direction, right), direction])
    matrix = np.eye(4)
    matrix[:3, :3] = rows / np.array(
        [[SHADOW_RADIUS_DM], [SHADOW_RADIUS_DM], [-SHADOW_DEPTH_DM / 2]]
    )
    matrix[:3, 3] = -matrix[:3, :3] @ centre
    return matrix


def _shadow_of(scene: Scene) -> Float64Array:
    camera = scene.camera
    middle = camera.eye - np.array([0.0, 0.6, camera.middle_depth_dm])
    return shadow_matrix(scene.light.key_direction, middle)


def _unit_cube(matrix: Float64Array) -> Float32Array:
    """The first three rows, with axes in [0, 1] instead of [-1, 1]."""
    out = np.float32(0.5) * matrix[:3].astype(np.float32)
    out[:, 3] += np.float32(0.5)
    return np.asarray(out, np.float32)


def _gl(matrix: Float64Array) -> bytes:
    """Column-major single floats."""
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


def _set(program: moderngl.Program, name: str, value: Any) -> None:
    """Set a uniform if the program has it: compilers drop what a material does not use."""
    uniform = program.get(name, None)
    if uniform is None:
        return
    if isinstance(value, bytes):
        uniform.write(value)
    elif isinstance(value, np.ndarray):
        uniform.write(np.ascontiguousarray(value, np.float32).tobytes())
    else:
        uniform.value = value


def _read_texture(directory: Path, name: str) -> Uint8Array:
    """RGB or one-channel picture, row 0 at the top."""
    if name == WHITE:
        return np.full((1, 1, 3), 255, np.uint8)
    if not name.startswith("skin:"):
        return _read_picture(directory / name)
    stem = name.removeprefix("skin:")
    body = _read_picture(directory / f"skin_{stem}_body.jpg")
    head = _read_picture(directory / f"skin_{stem}_head.jpg")
    atlas = cv2.resize(body, (ATLAS_SIZE_PX, ATLAS_SIZE_PX), interpolation=cv2.INTER_CUBIC)
    left, top = HEAD_CROP_CORNER
    height, width = head.shape[:2]
    atlas[top : top + height, left : left + width] = head[
        : ATLAS_SIZE_PX - top, : ATLAS_SIZE_PX - left
    ]
    return np.asarray(atlas, np.uint8)


def _read_picture(path: Path) -> Uint8Array:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InvalidInput(
            f"cannot read the texture {path}; copy the head pack again",
            reason="BAD_HEAD_PACK",
            field="heads",
        )
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture[..., :3], cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(picture)
