"""What a renderer is given and gives back: draw calls, scene, picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from parlante.synth.assets import Float64Array, Int32Array
from parlante.synth.camera import Camera
from parlante.synth.light import Light
from parlante.types import Uint8Array

__all__ = ["WHITE", "DrawCall", "Picture", "Scene"]

WHITE: Final = "white"  # the texture that changes nothing


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
