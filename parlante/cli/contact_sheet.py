"""Pictures of a video on one sheet: how a face looks is seen, not measured."""

from __future__ import annotations

import io
from pathlib import Path

import av
from PIL import Image, ImageOps

__all__ = ["make_contact_sheet"]


def make_contact_sheet(
    video: Path,
    output: Path,
    *,
    portrait: bytes = b"",
    columns: int = 6,
    rows: int = 2,
    tile_px: int = 256,
) -> None:
    """Write a PNG with pictures at even distances, after the portrait if one is given.

    Args:
        video: File to look at.
        output: PNG to write.
        portrait: Picture file for the first tile.
        columns: Tiles in a row.
        rows: Rows of tiles.
        tile_px: Side of a tile.
    """
    tiles: list[Image.Image] = []
    if portrait:
        tiles.append(ImageOps.exif_transpose(Image.open(io.BytesIO(portrait))).convert("RGB"))
    tiles += _pictures(video, columns * rows - len(tiles))
    sheet = Image.new("RGB", (columns * tile_px, rows * tile_px))
    for index, tile in enumerate(tiles):
        place = (index % columns * tile_px, index // columns * tile_px)
        sheet.paste(ImageOps.fit(tile, (tile_px, tile_px)), place)
    sheet.save(output)


def _pictures(video: Path, num_wanted: int) -> list[Image.Image]:
    with av.open(str(video)) as container:
        num_frames = container.streams.video[0].frames
        wanted = {int((index + 0.5) * num_frames / num_wanted) for index in range(num_wanted)}
        return [
            frame.to_image()
            for index, frame in enumerate(container.decode(video=0))
            if index in wanted
        ]
