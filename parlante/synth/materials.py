"""Draw calls of a person: which material, texture and colour each part has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parlante.synth.glasses import Glasses
from parlante.synth.look import Look
from parlante.synth.occluders import Occluder
from parlante.synth.scene import DrawCall

__all__ = ["draw_calls", "shared_uniforms"]

TONGUE_TINT: Final = (0.95, 0.6, 0.58)
LASH_COLOUR: Final = (0.008, 0.007, 0.006)
# A lens from this opacity on hides what is behind it, in the labels too.
OPAQUE_LENS: Final = 0.5
NEVER: Final = 2.0


def shared_uniforms(look: Look) -> Mapping[str, Any]:
    """Values that several materials use."""
    return {
        "hair_colour": (*look.hair_colour, 1.0),
        "seed": look.seed,
        "oil": look.oil,
        "bump": 1.0,
        "lipstick": look.make_up.lips,
        "lip_gloss": look.make_up.gloss,
        "shadow_colour": look.make_up.lids,
        "blush": look.make_up.cheeks,
        "stubble": look.stubble,
        "freckles": look.freckles,
        "shell_density": look.beard_density,
    }


def draw_calls(
    look: Look, *, hair_grey: float, glasses: Glasses | None, occluder: Occluder | None
) -> tuple[DrawCall, ...]:
    """Opaque parts first, then what is blended over them.

    Args:
        look: The person's look.
        hair_grey: Mean brightness of the hair's texture.
        glasses: Worn ones.
        occluder: The prop before the face.
    """
    calls = [*_body(look), *_hair(look, hair_grey), *_details(look)]
    if glasses is not None:
        calls += _glasses(glasses)
    if occluder is not None:
        calls.append(
            DrawCall(
                part="prop",
                material="plain",
                uniforms={"plain": (*occluder.colour, 1.0), "gloss": occluder.shine},
            )
        )
    # Lenses and single hairs come over everything else.
    return tuple(sorted(calls, key=lambda call: call.blend in ("over", "add")))


def _body(look: Look) -> list[DrawCall]:
    calls = [
        DrawCall(
            part="skin", material="skin", albedo=f"skin:{look.skin}", uniforms={"tint": look.tint}
        ),
        DrawCall(
            part="eyes",
            material="eyes",
            albedo=f"eye_{look.eyes}.jpg",
            uniforms={"tint": (look.eye_tint,) * 3},
        ),
        DrawCall(
            part="teeth",
            material="mouth",
            albedo="teeth.jpg",
            casts_shadow=False,
            uniforms={"tint": look.tooth_tint, "plain": (0.0, 0.0, 0.0, 0.0)},
        ),
        DrawCall(
            part="tongue",
            material="mouth",
            albedo="tongue.jpg",
            casts_shadow=False,
            uniforms={"tint": TONGUE_TINT, "plain": (1.0, 0.0, 0.0, 0.0)},
        ),
    ]
    if look.garment != "none":
        calls.append(
            DrawCall(
                part="clothes",
                material="cloth",
                albedo=f"cloth_{look.garment}.jpg",
                two_sided=True,
                uniforms={"tint": look.garment_tint},
            )
        )
    return calls


def _hair(look: Look, hair_grey: float) -> list[DrawCall]:
    calls: list[DrawCall] = []
    if look.hair != "none":
        calls.append(
            DrawCall(
                part="hair",
                material="hair",
                albedo=f"hair_{look.hair}.jpg",
                alpha=f"hair_{look.hair}_a.png",
                two_sided=True,
                index_cut=0.5,
                blend="cover",
                uniforms={"plain": (hair_grey, 0.0, 0.0, 0.0)},
            )
        )
    if look.beard != "none":
        calls.append(
            DrawCall(
                part="beard_label",
                material="shell",
                in_colour=False,
                casts_shadow=False,
                beard_cut=0.42,
            )
        )
        calls.append(
            DrawCall(
                part="beard",
                material="shell",
                blend="over",
                two_sided=True,
                casts_shadow=False,
                index_cut=NEVER,
                uniforms={"shell_scale": 1000.0},
            )
        )
    return calls


def _details(look: Look) -> list[DrawCall]:
    return [
        DrawCall(
            part="cornea", material="cornea", blend="add", casts_shadow=False, index_cut=NEVER
        ),
        DrawCall(
            part="brows",
            material="card",
            alpha=f"{look.brows}_a.png",
            blend="over",
            two_sided=True,
            index_cut=0.5,
            casts_shadow=False,
            uniforms={"plain": (*look.brow_colour, 0.95)},
        ),
        DrawCall(
            part="lashes",
            material="card",
            alpha=f"{look.lashes}_a.png",
            blend="over",
            two_sided=True,
            index_cut=0.5,
            casts_shadow=False,
            uniforms={"plain": (*LASH_COLOUR, look.lash_strength)},
        ),
        DrawCall(
            part="strands",
            material="strand",
            blend="over",
            two_sided=True,
            casts_shadow=False,
            index_cut=NEVER,
            uniforms={"plain": (0.0, 0.0, 0.0, 0.8)},
        ),
    ]


def _glasses(glasses: Glasses) -> list[DrawCall]:
    return [
        DrawCall(
            part="frame",
            material="plain",
            uniforms={"plain": (*glasses.frame_colour, 1.0), "gloss": 1.2},
        ),
        DrawCall(
            part="lenses",
            material="lens",
            blend="over",
            two_sided=True,
            casts_shadow=False,
            index_cut=0.0 if glasses.lens_opacity >= OPAQUE_LENS else NEVER,
            uniforms={"plain": (*glasses.lens_colour, glasses.lens_opacity)},
        ),
    ]
