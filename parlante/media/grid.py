"""Several pictures of one size side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from parlante.errors import InvalidInput
from parlante.types import Uint8Array

__all__ = ["MAX_GRID_CELLS", "Grid"]

MAX_GRID_CELLS: Final = 16
MAX_SIDE_PX: Final = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where cells lie; as square as it goes, row by row.

    Attributes:
        num_cells: [1, 16].
        cell_width_px: Of a picture as it comes.
        cell_height_px: Of a picture as it comes.

    Raises:
        InvalidInput: There are too many cells.
    """

    num_cells: int
    cell_width_px: int
    cell_height_px: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_cells <= MAX_GRID_CELLS:
            raise InvalidInput(
                f"a grid holds 1 to {MAX_GRID_CELLS} faces; got {self.num_cells}; give a folder "
                "as --output for one video each",
                reason="TOO_MANY_PORTRAITS",
                field="portrait",
            )

    @property
    def num_columns(self) -> int:
        """Cells in a row."""
        return math.ceil(math.sqrt(self.num_cells))

    @property
    def num_rows(self) -> int:
        """Rows."""
        return math.ceil(self.num_cells / self.num_columns)

    @property
    def shown_px(self) -> tuple[int, int]:
        """Width and height of a cell as it is shown, even; small enough for the whole grid."""
        across = max(self.num_columns * self.cell_width_px, self.num_rows * self.cell_height_px)
        zoom = min(1.0, MAX_SIDE_PX / across)
        width, height = (
            2 * max(1, int(side * zoom) // 2) for side in (self.cell_width_px, self.cell_height_px)
        )
        return width, height

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the whole, even."""
        width, height = self.shown_px
        return self.num_columns * width, self.num_rows * height

    def compose(self, pictures: Sequence[Uint8Array]) -> Uint8Array:
        """Lay pictures, uint8 [H, W, C] each, side by side; what is left is 0.

        A picture of another shape than the cells is scaled to fit and put into the middle.
        """
        width, height = self.shown_px
        columns, rows = self.size_px
        out = np.zeros((rows, columns, pictures[0].shape[2]), np.uint8)
        for index, picture in enumerate(pictures):
            row, column = divmod(index, self.num_columns)
            zoom = min(width / picture.shape[1], height / picture.shape[0])
            shown = (max(1, round(picture.shape[1] * zoom)), max(1, round(picture.shape[0] * zoom)))
            cell = picture
            if shown != picture.shape[1::-1]:
                cell = cv2.resize(picture, shown, interpolation=cv2.INTER_AREA)
            left, top = (width - shown[0]) // 2, (height - shown[1]) // 2
            place = out[row * height + top :, column * width + left :]
            place[: shown[1], : shown[0]] = cell
        return out
