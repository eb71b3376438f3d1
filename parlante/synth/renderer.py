"""Draws a head mesh with OpenGL: colour, matte and the triangle that each pixel shows.

Runs on a graphics card and on Mesa's software rasteriser alike.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import moderngl
import numpy as np

from parlante.synth import shaders
from parlante.synth.assets import Float64Array, HeadPack, Int32Array
from parlante.synth.gl import LoadedMesh, TextureStore, gl_matrix, open_context, set_uniform
from parlante.synth.head_mesh import HeadMesh
from parlante.synth.kernels import add_access, shade_points
from parlante.synth.scene import DrawCall, Picture, Scene
from parlante.types import Float32Array, Uint8Array

__all__ = ["Renderer"]

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
        self._context = open_context()
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
        self._textures = TextureStore(context, pack.directory / "tex")
        self._loaded: LoadedMesh | None = None

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
        self._textures.release()
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
        self._loaded = LoadedMesh(
            self._context, mesh, programs, self._index_program, self._shadow_program, shadow_parts
        )
        background = self._context.texture(
            (self.size_px, self.size_px), 3, np.ascontiguousarray(scene.background), alignment=1
        )
        self._loaded.background = background
        for call in scene.calls:
            for name in (call.albedo, call.alpha):
                self._textures.get(name)
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
        rgb, matte = self.photograph(mesh, scene, points, normals, matrices)
        index = self._draw_index(self._ready(), mesh, scene)
        return Picture(rgb=rgb, matte=matte, index=index)

    def photograph(
        self,
        mesh: HeadMesh,
        scene: Scene,
        points: Float32Array,
        normals: Float32Array,
        matrices: Float32Array,
    ) -> tuple[Uint8Array, Uint8Array]:
        """Draw a frame's colours alone, in half the time of `draw`; the arguments are the same.

        Returns:
            uint8 [H, W, 3], RGB, and uint8 [H, W], how opaque the person is.
        """
        loaded = self._ready()
        loaded.write_points(points)
        lit = self._draw_shadow(loaded, scene, points, normals)
        loaded.write(mesh, points, normals, lit)
        self._draw_colour(loaded, mesh, scene, matrices)
        self._context.copy_framebuffer(self._resolved, self._colour)
        raw = np.frombuffer(self._resolved.read(components=4), np.uint8)
        raw = raw.reshape(self.size_px, self.size_px, 4)
        return np.ascontiguousarray(raw[..., :3]), np.ascontiguousarray(raw[..., 3])

    def _ready(self) -> LoadedMesh:
        if self._loaded is None:
            raise RuntimeError("load() comes before draw()")
        return self._loaded

    def mean_grey(self, name: str) -> float:
        """Mean brightness of a texture, (0, 1]."""
        return self._textures.mean_grey(name)

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
            set_uniform(self._shadow_program, "clip", gl_matrix(matrix))
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
        self, loaded: LoadedMesh, scene: Scene, points: Float32Array, normals: Float32Array
    ) -> Float32Array:
        """Draw the shadow map; gives how much of the key light reaches each point."""
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self._context.enable_only(moderngl.DEPTH_TEST)
        matrix = _shadow_of(scene)
        set_uniform(self._shadow_program, "clip", gl_matrix(matrix))
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
        self, loaded: LoadedMesh, mesh: HeadMesh, scene: Scene, matrices: Float32Array
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
            self._textures.get(call.albedo).use(0)
            self._textures.get(call.alpha).use(1)
            set_uniform(program, "head_inverse", inverse)
            for name, value in call.uniforms.items():
                set_uniform(program, name, value)
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

    def _draw_index(self, loaded: LoadedMesh, mesh: HeadMesh, scene: Scene) -> Int32Array:
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
            self._textures.get(call.alpha).use(1)
            set_uniform(program, "first", span[0])
            set_uniform(program, "cut", call.index_cut)
            set_uniform(program, "beard_cut", call.beard_cut)
            loaded.index.render(vertices=3 * (span[1] - span[0]), first=3 * span[0])
        raw = np.frombuffer(self._index.read(components=1, dtype="u4"), np.uint32)
        return raw.reshape(self.size_px, self.size_px).astype(np.int32)

    def _write_uniforms(self, program: moderngl.Program, scene: Scene) -> None:
        light, camera = scene.light, scene.camera
        values: dict[str, Any] = {
            "clip": gl_matrix(camera.clip_matrix()),
            "shadow_clip": gl_matrix(_shadow_of(scene)),
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
            set_uniform(program, name, value)
        for name, unit in (
            ("albedo_map", 0),
            ("alpha_map", 1),
            ("shadow_map", 5),
            ("noise_map", 6),
        ):
            set_uniform(program, name, unit)
        set_uniform(self._index_program, "clip", gl_matrix(camera.clip_matrix()))
        set_uniform(self._index_program, "alpha_map", 1)


def _disc(number: int) -> Float32Array:
    """Even points of the unit disc, float32 [K, 2]."""
    index = np.arange(number) + 0.5
    angle = np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(index / number)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


_SHADOW_TAPS: Final = _disc(NUM_SHADOW_TAPS)


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
