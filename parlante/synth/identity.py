"""Who a synthetic head is: identity targets, sex, age and ancestry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from parlante.synth.assets import HeadPack

__all__ = ["Identity", "sample_identity"]

ANCESTRIES: Final = ("african", "asian", "caucasian")
# Spread of the shape targets, by group; larger values look like caricatures.
SPREADS: Final[Mapping[str, float]] = {
    "eyes": 0.26, "nose": 0.30, "mouth": 0.28, "chin": 0.33, "cheek": 0.33, "ears": 0.35,
    "forehead": 0.33, "neck": 0.20, "eyebrows": 0.28, "head": 0.20,
}  # fmt: skip
# Shapes that are drawn otherwise, or look wrong when they are mixed at random.
SKIPPED: Final = ("head", "chin", "l-ear-shape", "ear-shape", "head-age", "neck-double")
HEAD_SHAPES: Final = (
    "oval", "round", "rectangular", "square", "triangular", "invertedtriangular", "diamond",
)  # fmt: skip
NEGLIGIBLE: Final = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One person's shape.

    Attributes:
        weights: Identity targets by name.
        sex: ``female`` or ``male``: the side that the face leans to.
        age: 0 = young adult, 1 = old.
        ancestry: Shares of `ANCESTRIES`, sum to 1.
        fullness: Body weight, 0 thin to 1 heavy.
    """

    weights: Mapping[str, float]
    sex: str
    age: float
    ancestry: tuple[float, float, float]
    fullness: float


def sample_identity(
    pack: HeadPack, rng: np.random.Generator, *, sex: str, lean: tuple[float, float, float]
) -> Identity:
    """Draw an identity.

    Args:
        pack: Gives the targets.
        rng: Source of chance.
        sex: ``female`` or ``male``.
        lean: Concentration of each ancestry, > 0; equal values lean to none.
    """
    ancestry = rng.dirichlet(np.array(lean))
    manly = float(np.clip((0.92 if sex == "male" else 0.08) + rng.normal(0.0, 0.08), 0.0, 1.0))
    age = float(np.clip(rng.beta(1.1, 2.6), 0.0, 0.85))
    muscle, fullness = (float(np.clip(rng.normal(0.5, s), 0.0, 1.0)) for s in (0.15, 0.2))
    weights = _macro_weights(ancestry, manly, age, muscle, fullness)
    weights |= _shape_weights(pack, rng)
    weights = {name: weight for name, weight in weights.items() if name in pack.target_names}
    return Identity(
        weights=weights,
        sex=sex,
        age=age,
        ancestry=(float(ancestry[0]), float(ancestry[1]), float(ancestry[2])),
        fullness=fullness,
    )


def _macro_weights(
    ancestry: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    manly: float,
    age: float,
    muscle: float,
    fullness: float,
) -> dict[str, float]:
    """Mix the whole-body targets so that their shares sum to 1."""
    weights: dict[str, float] = {}
    for sex, sex_share in (("female", 1.0 - manly), ("male", manly)):
        for years, years_share in (("young", 1.0 - age), ("old", age)):
            share = sex_share * years_share
            for name, amount in zip(ANCESTRIES, ancestry, strict=True):
                weights[f"macro/{name}-{sex}-{years}"] = float(amount) * share
            for m_name, m_share in _three_levels(muscle).items():
                for w_name, w_share in _three_levels(fullness).items():
                    name = f"macro/universal-{sex}-{years}-{m_name}muscle-{w_name}weight"
                    weights[name] = share * m_share * w_share
    return {name: weight for name, weight in weights.items() if weight > NEGLIGIBLE}


def _three_levels(x: float) -> dict[str, float]:
    return {
        "min": max(0.0, 1.0 - 2.0 * x),
        "average": 1.0 - abs(2.0 * x - 1.0),
        "max": max(0.0, 2.0 * x - 1.0),
    }


def _shape_weights(pack: HeadPack, rng: np.random.Generator) -> dict[str, float]:
    """Draw face shapes: one signed value for each pair of opposite targets."""
    weights: dict[str, float] = {}
    for (group, stem), ends in sorted(_opposites(pack).items()):
        if len(ends) < 2 or stem in SKIPPED or ("trans" in stem and group in ("head", "neck")):
            continue
        value = float(np.clip(rng.normal(0.0, _spread(group, stem)), -0.9, 0.9))
        names = sorted(ends)
        end = names[0] if value < 0 else names[1]
        if len(names) > 2:
            end = names[int(rng.integers(len(names)))]
        for target in ends[end]:  # left and right nearly alike
            weights[target] = abs(value) * (1.0 + float(rng.normal(0.0, 0.06)))
    for shape in rng.choice(np.array(HEAD_SHAPES), 2, replace=False):
        weights[f"head/head-{shape}"] = float(rng.uniform(0.0, 0.45))
    for target in pack.target_names:
        if target.startswith("asym/") and rng.random() < 0.35:
            weights[target] = float(rng.uniform(0.0, 0.35))
    return weights


def _spread(group: str, stem: str) -> float:
    if stem == "eyebrows-angle":
        return 0.12
    spread = SPREADS[group]
    if stem in ("mouth-trans", "nose-trans", "eye-trans"):
        return 0.5 * spread
    if "dimples" in stem or "laugh-lines" in stem:
        return 0.6 * spread
    return spread


def _opposites(pack: HeadPack) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Targets by (group, stem) and end: ``l-eye-bag-incr`` is end ``incr`` of ``eye-bag``."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for target in pack.target_names:
        group, _, name = target.partition("/")
        if group not in SPREADS:
            continue
        name = name[2:] if name[:2] in ("l-", "r-") else name
        stem, _, end = name.rpartition("-")
        if stem:
            found.setdefault((group, stem), {}).setdefault(end, []).append(target)
    return found
