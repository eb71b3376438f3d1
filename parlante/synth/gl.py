"""OpenGL objects: the context, textures, and the buffers of one mesh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import moderngl
import numpy as np
from PIL import Image

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.synth.assets import Float64Array
from parlante.synth.head_mesh import HeadMesh
from parlante.synth.kernels import gather_corners
from parlante.synth.scene import WHITE
from parlante.types import Float32Array, Uint8Array

__all__ = [
    "LoadedMesh",
    "TextureStore",
    "gl_matrix",
    "open_context",
    "set_uniform",
]

ATLAS_SIZE_PX: Final = 2048
HEAD_CROP_CORNER: Final = (1280, 340)  # of the skins' fine crop in the atlas
SKIN_PREFIX: Final = "skin:"
# Textures of the last subjects are kept; a skin with its mipmaps is 16 MB.
MAX_TEXTURES: Final = 48
MIN_GREY: Final = 0.02


def open_context() -> moderngl.Context:
    """Start OpenGL without a window.

    Raises:
        FailedPrecondition: No OpenGL 3.3 can be started through EGL (reason ``NO_OPENGL``).
    """
    # moderngl's own types take these for a dict.
    settings: dict[str, Any] = {"require": 330, "standalone": True, "backend": "egl"}
    try:
        return moderngl.create_context(**settings)
    except Exception as error:  # moderngl raises bare Exception
        raise FailedPrecondition(
            "cannot start OpenGL 3.3 through EGL; on Debian: "
            "apt-get install -y libegl1 libgl1 libgl1-mesa-dri",
            reason="NO_OPENGL",
        ) from error


def gl_matrix(matrix: Float64Array) -> bytes:
    """Column-major single floats."""
    return np.ascontiguousarray(matrix.T, np.float32).tobytes()


def set_uniform(program: moderngl.Program, name: str, value: Any) -> None:
    """Set a uniform if the program has it: compilers drop what a material does not use."""
    uniform = program.get(name, None)
    if not isinstance(uniform, moderngl.Uniform):
        return
    if isinstance(value, bytes):
        uniform.write(value)
    elif isinstance(value, np.ndarray):
        uniform.write(np.ascontiguousarray(value, np.float32).tobytes())
    else:
        uniform.value = value


class TextureStore:
    """Textures of a pack, uploaded when they are wanted first.

    Args:
        context: Where to upload.
        folder: The pack's ``tex``.
    """

    def __init__(self, context: moderngl.Context, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._textures: dict[str, moderngl.Texture] = {}
        self._greys: dict[str, float] = {}

    def get(self, name: str) -> moderngl.Texture:
        """A file of the folder, ``skin:NAME`` or `WHITE`.

        Raises:
            InvalidInput: The file cannot be read.
        """
        if name in self._textures:
            self._textures[name] = self._textures.pop(name)  # the newest is last
            return self._textures[name]
        while len(self._textures) >= MAX_TEXTURES:
            self._textures.pop(next(iter(self._textures))).release()
        picture = _read_texture(self._folder, name)
        self._greys[name] = max(float(picture.mean()) / 255.0, MIN_GREY)
        components = 1 if picture.ndim == 2 else picture.shape[2]
        texture = self._context.texture(
            (picture.shape[1], picture.shape[0]), components, picture.tobytes(), alignment=1
        )
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._textures[name] = texture
        return texture

    def mean_grey(self, name: str) -> float:
        """Mean brightness of a texture, (0, 1]."""
        self.get(name)
        return self._greys[name]

    def release(self) -> None:
        """Give all textures back."""
        for texture in self._textures.values():
            texture.release()
        self._textures.clear()


class LoadedMesh:
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


def _read_texture(directory: Path, name: str) -> Uint8Array:
    """RGB or one-channel picture, row 0 at the top."""
    if name == WHITE:
        return np.full((1, 1, 3), 255, np.uint8)
    if not name.startswith(SKIN_PREFIX):
        return _read_picture(directory / name)
    stem = name.removeprefix(SKIN_PREFIX)
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
    """uint8 [H, W, 3] RGB, or [H, W] of a grey picture."""
    try:
        # Not OpenCV: it complains on stderr of colour profiles that some masks carry.
        with Image.open(path) as picture:
            return np.array(picture if picture.mode == "L" else picture.convert("RGB"), np.uint8)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"cannot read the texture {path}; copy the head pack again",
            reason="BAD_HEAD_PACK",
            field="heads",
        ) from error
