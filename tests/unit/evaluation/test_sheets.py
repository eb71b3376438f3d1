"""Sheets of labelled pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from parlante.evaluation.sheets import Cell, draw_sheet


def test_sheet_holds_every_picture_in_its_place(tmp_path: Path) -> None:
    red, blue = (np.zeros((8, 8, 3), np.uint8) for _ in range(2))
    red[..., 0] = blue[..., 2] = 255
    rows = [[Cell("a", red), Cell("b", blue)], [Cell("c", blue)]]
    draw_sheet("Colours", rows, tmp_path / "sheet.png", tile_px=64)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert (pixels[34 + 32, 4 + 32] == [255, 0, 0]).all()
    assert (pixels[34 + 32, 8 + 64 + 32] == [0, 0, 255]).all()
    assert (pixels[34 + 90 + 32, 4 + 32] == [0, 0, 255]).all()
    assert (pixels[34 + 90 + 32, 8 + 64 + 32] == [250, 250, 250]).all()
