"""The report on rendered faces: as data, as a page with pictures, and as a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from parlante.evaluation.face.heads import HeadScores, Sample
from parlante.evaluation.face.metrics import REGIONS
from parlante.evaluation.face.photos import PhotoScores
from parlante.evaluation.report import plain_json
from parlante.models.face_regions import EYE_PX, MOUTH_PX, Region
from parlante.types import Uint8Array

__all__ = ["draw_pictures", "make_face_report", "summary_lines", "write_face_page"]

FACE_REPORT_VERSION: Final = 1
_TILE_PX: Final = 192


def make_face_report(
    heads: HeadScores | None,
    photos: PhotoScores | None,
    digests: dict[str, str],
    turns: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Put everything into one JSON object.

    Keys: ``version``; ``weights``, digests by renderer; ``heads`` with ``scores`` by renderer,
    group and region, ``gain`` of each renderer over the first, in percent of its root mean square
    error, and the numbers of subjects and frames; ``photos`` with the fields of `PhotoScores`;
    ``turns``, the share of true turns that the tracker sees, by angle.
    """
    report: dict[str, Any] = {"version": FACE_REPORT_VERSION, "weights": digests}
    if heads is not None:
        report["heads"] = {
            "scores": heads.scores,
            "gain": _gains(heads),
            "num_subjects": heads.num_subjects,
            "num_frames": heads.num_frames,
        }
    if photos is not None:
        report["photos"] = {
            "neutral_psnr_db": photos.neutral_psnr_db,
            "still_psnr_db": photos.still_psnr_db,
            "loop": photos.loop,
            "flicker": photos.flicker,
        }
    if turns is not None:
        report["turns"] = turns
    plain: dict[str, Any] = plain_json(report)
    return plain


def _gains(heads: HeadScores) -> dict[str, dict[str, dict[str, float]]]:
    """By how many percent the error is below the first renderer's."""
    first, *others = heads.scores
    base = heads.scores[first]
    return {
        name: {
            group: {
                region: 100.0 * (1.0 - heads.scores[name][group][region]["rmse"] / row["rmse"])
                for region, row in base[group].items()
                if row["rmse"] > 0.0
            }
            for group in base
        }
        for name in others
    }


def summary_lines(report: dict[str, Any]) -> Iterator[str]:
    """The tables, as text that is Markdown as well."""
    if "heads" in report:
        heads = report["heads"]
        yield f"{heads['num_subjects']} held-out heads, {heads['num_frames']} frames"
        yield ""
        yield "| renderer | measure | " + " | ".join(REGIONS) + " |"
        yield "|---|---" + "|---" * len(REGIONS) + "|"
        for name, groups in heads["scores"].items():
            for key, digits in (("psnr_db", 2), ("rmse", 2), ("ssim", 3), ("unlike", 4)):
                cells = [_cell(groups["all"][region].get(key), digits) for region in REGIONS]
                yield f"| {name} | {key} | " + " | ".join(cells) + " |"
        yield ""
        yield "| error below the warp's, % | " + " | ".join(REGIONS) + " |"
        yield "|---" + "|---" * len(REGIONS) + "|"
        for name, groups in heads["gain"].items():
            for group, row in groups.items():
                cells = [_cell(row.get(region), 1) for region in REGIONS]
                yield f"| {name}, {group} | " + " | ".join(cells) + " |"
        yield ""
    if "photos" in report:
        yield from _photo_lines(report["photos"])
    if "turns" in report:
        shares = ", ".join(f"{name} x{share:.2f}" for name, share in report["turns"].items())
        yield f"Of true turns of synthetic heads the tracker sees: {shares}."


def _photo_lines(photos: dict[str, Any]) -> Iterator[str]:
    channels = list(next(iter(photos["loop"].values())))
    yield (
        "| renderer | neutral PSNR, least dB | still PSNR, least dB | flicker | "
        + " | ".join(channels)
        + " |"
    )
    yield "|---|---|---|---" + "|---" * len(channels) + "|"
    for name, loop in photos["loop"].items():
        cells = [f"{row['correlation']:.3f} x{row['gain']:.2f}" for row in loop.values()]
        neutral = min(photos["neutral_psnr_db"][name].values())
        still = min(photos["still_psnr_db"][name].values())
        yield (
            f"| {name} | {neutral:.1f} | {still:.1f} | {photos['flicker'][name]:.3f} | "
            + " | ".join(cells)
            + " |"
        )
    yield ""
    yield "By channel: correlation of what is seen with what was put in, and its gain: for angles"
    yield "against what was put in, for the others against the warp's."


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def write_face_page(report: dict[str, Any], path: Path, pictures: list[Path]) -> None:
    """Write the report as a page beside its pictures."""
    lines = ["# Rendered faces", "", *summary_lines(report), ""]
    for name, digest in report["weights"].items():
        lines.append(f"- {name}: {digest[:16] or 'no network'}")
    lines += ["", *(f"![{picture.stem}]({picture.name})\n" for picture in pictures)]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def draw_pictures(heads: HeadScores | None, photos: PhotoScores | None, folder: Path) -> list[Path]:
    """Write the pictures; gives their paths."""
    paths = []
    if heads is not None and heads.samples:
        paths.append(_write(np.vstack([_row(s) for s in heads.samples]), folder / "heads.png"))
    if photos is not None:
        for name, strips in photos.strips.items():
            rows = [np.hstack([_small(f) for f in frames]) for frames in strips.values()]
            paths.append(_write(np.vstack(rows), folder / f"{name}.png"))
    return paths


def _row(sample: Sample) -> Uint8Array:
    """Mouth and eye of the portrait, of every renderer, and of the truth; then the frames."""
    pictures = [*sample.made.values(), sample.truth]
    tiles = [_crop(picture, sample.mouth, MOUTH_PX) for picture in pictures]
    tiles += [_crop(picture, sample.eye, EYE_PX) for picture in pictures]
    tiles += [_small(picture) for picture in (sample.portrait, *pictures)]
    return np.hstack(tiles)


def _crop(picture: Uint8Array, region: Region, size_px: int) -> Uint8Array:
    crop = cv2.warpAffine(
        picture, region.to_frame, (size_px, size_px), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    )
    return np.asarray(cv2.resize(crop, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_CUBIC))


def _small(picture: Uint8Array) -> Uint8Array:
    size = (_TILE_PX, _TILE_PX)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(picture: Uint8Array, path: Path) -> Path:
    cv2.imwrite(str(path), picture[..., ::-1])
    return path
