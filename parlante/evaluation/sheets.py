"""Labelled pictures on one sheet: how a face looks is seen, not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from parlante.types import Uint8Array

__all__ = ["Cell", "draw_sheet"]

_LABEL_PX: Final = 22
_TITLE_PX: Final = 34
_GAP_PX: Final = 4
_PAPER: Final = (250, 250, 250)
_INK: Final = (20, 20, 20)


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture, uint8 [H, W, 3] RGB, square, and what to write under it."""

    label: str
    picture: Uint8Array


def draw_sheet(title: str, rows: Sequence[Sequence[Cell]], path: Path, *, tile_px: int) -> None:
    """Write a PNG.

    Args:
        title: Written on top.
        rows: Cells from left to right, rows from the top.
        path: PNG to write.
        tile_px: Side of a picture.
    """
    title_font = ImageFont.load_default(_fitting_size(title, max(map(len, rows)) * tile_px))
    label_font = ImageFont.load_default(15)
    row_px = tile_px + _LABEL_PX + _GAP_PX
    width = max(map(len, rows)) * (tile_px + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, _TITLE_PX + len(rows) * row_px), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((2 * _GAP_PX, _TITLE_PX // 2), title, _INK, title_font, anchor="lm")
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            x, y = _GAP_PX + column * (tile_px + _GAP_PX), _TITLE_PX + row * row_px
            picture = Image.fromarray(np.ascontiguousarray(cell.picture))
            sheet.paste(picture.resize((tile_px, tile_px), Image.Resampling.LANCZOS), (x, y))
            middle = (x + tile_px // 2, y + tile_px + _LABEL_PX // 2)
            pen.text(middle, cell.label, _INK, label_font, anchor="mm")
    sheet.save(path)


def _fitting_size(text: str, width_px: int) -> int:
    """Size of letters at which the text is about as wide as there is room, at most 20."""
    return max(10, min(20, int(1.9 * width_px / max(len(text), 1))))
