"""How a person looks: skin, hair, colours, garment; drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.synth.assets import HeadPack
from parlante.synth.identity import Identity

__all__ = ["Look", "sample_look"]

Colour = tuple[float, float, float]

# Groups of skin tone, light to dark; sets are balanced over them.
TONES: Final = ("light", "tan", "brown", "dark")
# Concentrations of ancestry (african, asian, caucasian) that go with a tone.
LEANS: Final = {
    "light": (0.15, 0.5, 1.2),
    "tan": (0.3, 0.9, 0.6),
    "brown": (0.6, 0.7, 0.4),
    "dark": (1.6, 0.2, 0.15),
}
# Albedo of light-skinned textures is multiplied by exp(-amount * ABSORPTION).
ABSORPTION: Final = np.array([0.42, 0.72, 0.95])
TONE_RANGE: Final = {
    "light": (0.0, 0.25),
    "tan": (0.35, 0.8),
    "brown": (0.9, 1.7),
    "dark": (1.9, 2.9),
}
# Of the dark textures themselves; negative is lighter.
DARK_TEXTURE_RANGE: Final = {"brown": (-0.75, -0.35), "dark": (-0.3, 0.35)}
DARK_ABSORPTION: Final = np.array([0.6, 0.7, 0.8])
HAIR_COLOURS: Final = np.array([
    (0.008, 0.006, 0.005), (0.02, 0.012, 0.008), (0.05, 0.028, 0.015), (0.12, 0.06, 0.03),
    (0.32, 0.2, 0.1), (0.18, 0.06, 0.025), (0.25, 0.24, 0.23), (0.5, 0.49, 0.47),
])  # fmt: skip
HAIR_SHARES: Final = {
    "light": (1.5, 2.5, 2.5, 2.0, 1.5, 0.6, 0.2, 0.05),
    "tan": (4.0, 3.0, 1.2, 0.5, 0.15, 0.1, 0.2, 0.05),
    "brown": (6.0, 2.5, 0.6, 0.1, 0.03, 0.03, 0.2, 0.05),
    "dark": (7.0, 1.5, 0.2, 0.03, 0.03, 0.03, 0.2, 0.05),
}
MALE_HAIR: Final = ("short01", "short02", "short03", "short04")
FEMALE_HAIR: Final = ("bob02", "braid01", "long01", "ponytail01", "short01", "short04")
# Hair that falls over an eye hides much of the face: it is taken less often.
FRINGES: Final = ("bob02", "short02", "short03")
FRINGE_WEIGHT: Final = 0.2
BALD_SHARE: Final = 0.16  # of men
BEARDS: Final = ("none", "full", "short", "goatee", "moustache")
BEARD_SHARES: Final = (0.5, 0.17, 0.17, 0.09, 0.07)  # of men
BEARD_LENGTH_DM: Final = {
    "full": (0.08, 0.22), "short": (0.025, 0.07), "goatee": (0.04, 0.13), "moustache": (0.03, 0.09),
}  # fmt: skip
MAKE_UP_SHARE: Final = 0.65  # of women
LIP_COLOURS: Final = np.array([
    (0.45, 0.02, 0.03), (0.30, 0.02, 0.06), (0.50, 0.12, 0.14), (0.42, 0.16, 0.12),
    (0.18, 0.02, 0.04), (0.55, 0.08, 0.22),
])  # fmt: skip
DARK_EYES: Final = ("brown", "brown", "brown", "brownlight")


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeUp:
    """Colour on the skin; the last value of each is its strength, [0, 1].

    Attributes:
        lips: Linear RGB and strength.
        gloss: Shine of the lips, [0, 1].
        lids: What the lids are multiplied by, and strength.
        cheeks: What the cheeks are multiplied by, and strength.
    """

    lips: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    gloss: float = 0.0
    lids: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.0)
    cheeks: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 0.0)

    @property
    def is_there(self) -> bool:
        """Whether anything can be seen."""
        return max(self.lips[3], self.lids[3], self.cheeks[3]) > 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One person's look; colours are linear.

    Attributes:
        tone: One of `TONES`.
        skin: Name of the skin texture.
        tint: What the texture is multiplied by.
        oil: Strength of the skin's shine.
        freckles: [0, 1].
        hair: Name of the hair, or ``none``.
        hair_colour: Of hair, brows and beard.
        brow_colour: Of the brows.
        brows: Name of the part.
        lashes: Name of the part.
        lash_strength: Opacity of the lashes, [0, 1].
        eyes: Texture of the eyes.
        eye_tint: What it is multiplied by.
        teeth: Name of the part.
        tooth_tint: What the teeth are multiplied by.
        garment: Name of the part, or ``none``.
        garment_tint: What it is multiplied by.
        stubble: Shade of a shaved beard, [0, 1].
        beard: One of `BEARDS`.
        beard_length_dm: Of its hairs.
        beard_density: [0, 1].
        make_up: Lips, lids and cheeks.
        seed: Shifts the noise of the skin.
    """

    tone: str
    skin: str
    tint: Colour
    oil: float
    freckles: float
    hair: str
    hair_colour: Colour
    brow_colour: Colour
    brows: str
    lashes: str
    lash_strength: float
    eyes: str
    eye_tint: float
    teeth: str
    tooth_tint: Colour
    garment: str
    garment_tint: Colour
    stubble: float
    beard: str
    beard_length_dm: float
    beard_density: float
    make_up: MakeUp
    seed: float


def sample_look(pack: HeadPack, rng: np.random.Generator, identity: Identity, *, tone: str) -> Look:
    """Draw a look that goes with an identity and a tone."""
    male = identity.sex == "male"
    skin, tint = _skin(pack, rng, identity, tone)
    shares = np.array(HAIR_SHARES[tone])
    if identity.age > 0.5:
        shares[6:] += (4.0, 3.0)
    hair_colour = HAIR_COLOURS[rng.choice(len(shares), p=shares / shares.sum())]
    hair_colour = hair_colour * np.exp(rng.normal(0.0, 0.15))
    brow_colour = np.minimum(hair_colour * rng.uniform(0.4, 0.9), 0.14)
    hair = "none" if male and rng.random() < BALD_SHARE else _choose_hair(pack, rng, male)
    light_eyes = tone == "light" or (tone == "tan" and rng.random() < 0.15)
    eyes = pack.textures("eye_", ".jpg")
    dark: list[str] = [name for name in DARK_EYES if name in eyes]
    garments = [n for n in pack.proxies_of("clothes") if n.startswith(identity.sex)]
    freckled = tone == "light" and rng.random() < 0.25
    beard = str(rng.choice(np.array(BEARDS), p=BEARD_SHARES)) if male else "none"
    stubble = float(np.clip(rng.normal(0.25, 0.3), 0.0, 0.9)) if male else 0.0
    if beard in ("full", "short"):  # the skin under a beard is not seen
        stubble = max(stubble, 0.5)
    return Look(
        tone=tone,
        skin=skin,
        tint=_colour(tint),
        oil=float(rng.uniform(0.6, 1.7)),
        freckles=float(rng.uniform(0.3, 1.0)) if freckled else float(rng.uniform(0.0, 0.12)),
        hair=hair,
        hair_colour=_colour(hair_colour),
        brow_colour=_colour(brow_colour),
        brows=_one_of(rng, pack.proxies_of("brows")),
        lashes=_one_of(rng, pack.proxies_of("lashes")),
        lash_strength=float(rng.uniform(0.3, 0.7) if male else rng.uniform(0.5, 0.9)),
        eyes=_one_of(rng, eyes if light_eyes or not dark else dark),
        eye_tint=float(rng.uniform(0.85, 1.0)),
        teeth=_one_of(rng, pack.proxies_of("teeth")),
        tooth_tint=_colour(np.exp(-rng.uniform(0.0, 0.6) * np.array([0.1, 0.25, 0.6]))),
        garment=_one_of(rng, garments or pack.proxies_of("clothes")),
        garment_tint=_colour(np.clip(np.exp(rng.normal(-0.2, 0.4, 3)), 0.05, 1.5)),
        stubble=stubble,
        beard=beard,
        beard_length_dm=float(rng.uniform(*BEARD_LENGTH_DM[beard])) if beard != "none" else 0.0,
        beard_density=float(rng.uniform(0.55, 1.0)),
        make_up=MakeUp() if male or rng.random() > MAKE_UP_SHARE else _make_up(rng),
        seed=float(rng.uniform(0.0, 100.0)),
    )


def _colour(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _one_of(rng: np.random.Generator, names: list[str]) -> str:
    return str(rng.choice(np.array(names))) if names else "none"


def _make_up(rng: np.random.Generator) -> MakeUp:
    lips = LIP_COLOURS[rng.integers(len(LIP_COLOURS))] * np.exp(rng.normal(0.0, 0.15, 3))
    lids = np.clip(rng.uniform(0.1, 0.9) * np.exp(rng.normal(0.0, 0.25, 3)), 0.05, 1.0)
    painted = rng.random() < 0.75
    return MakeUp(
        lips=(*_colour(lips), float(rng.uniform(0.3, 0.95)) if painted else 0.0),
        gloss=float(rng.uniform(0.0, 1.0)),
        lids=(*_colour(lids), float(rng.uniform(0.2, 0.9)) if rng.random() < 0.7 else 0.0),
        cheeks=(1.0, 0.62, 0.62, float(rng.uniform(0.0, 0.7))),
    )


def _choose_hair(pack: HeadPack, rng: np.random.Generator, male: bool) -> str:
    there = pack.proxies_of("hair")
    fitting = [name for name in (MALE_HAIR if male else FEMALE_HAIR) if name in there]
    if not fitting:
        return _one_of(rng, there)
    weights = np.array([FRINGE_WEIGHT if name in FRINGES else 1.0 for name in fitting])
    return str(rng.choice(np.array(fitting), p=weights / weights.sum()))


def _skin(
    pack: HeadPack, rng: np.random.Generator, identity: Identity, tone: str
) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """Texture and tint: of the few dark textures none is a woman's, so light ones are darkened."""
    names = pack.textures("skin_", "_head.jpg")
    dark = [name for name in names if "dark" in name]
    light = [name for name in names if "dark" not in name]
    fitting = [name for name in light if f"_{identity.sex}" in name] or light
    age = "young" if identity.age < 0.35 else ("old" if identity.age > 0.6 else "middleage")
    use_dark = bool(dark) and tone in DARK_TEXTURE_RANGE
    use_dark = use_dark and rng.random() < (0.8 if identity.sex == "male" else 0.35)
    candidates = dark if use_dark else fitting
    preferred = [name for name in candidates if name.startswith(age)] or candidates
    name = _one_of(rng, preferred)
    low, high = (DARK_TEXTURE_RANGE if use_dark else TONE_RANGE)[tone]
    absorption = DARK_ABSORPTION if use_dark else ABSORPTION
    tint = np.exp(-rng.uniform(low, high) * absorption) * np.exp(rng.normal(0.0, 0.035, 3))
    return name, tint
