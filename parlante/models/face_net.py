"""The network that retouches a warped frame where no warp can be right.

Three small networks of one kind look at the mouth, at each eye and, coarsely, at the whole frame.
Each gets the frame as it was drawn, maps of its geometry, a few numbers of the motion, and what it
made once of the same region of the portrait. It gives a change of colour, whose picture
`parlante.models.face_paint` paints:

    change = allow_detail * mask * (colour - frame) + allow_shade * shade * frame

`allow` comes from the geometry and is zero where the photo's own pixels must stay. Detail is a
picture of full resolution, for the inside of the mouth, the lids in a blink and what a turn
uncovers. Shade is a smooth factor that keeps the texture of skin, for the shadows of a moving jaw.

Axes: B batch, S side of a region in px, G side of its maps (S / 2 or less), D condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parlante.models.face_paint import (
    NUM_COLOURS,
    Painter,
    first_means,
    num_planes,
    read_picture,
)
from parlante.models.face_regions import (
    CONDITION_DIM,
    EYE_MAPS,
    EYE_PX,
    FRAME_MAPS,
    FRAME_PX,
    MOUTH_MAPS,
    MOUTH_PX,
    PALETTE_AT,
)

MAX_SHADE: Final = 0.6
MIDDLE: Final = 0.5  # of a region's half side, where its tone is measured
LEAST_TONE: Final = 0.03
LUMA: Final = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionNetConfig:
    """Size of the network of one region.

    Attributes:
        shrink: Side of the blocks of pixels that become channels; the top level has S / shrink.
        widths: Channels per level; each level has half the side of the one above.
        blocks: Blocks per level, the way down and the way up together at all but the lowest.
        code: Length of the portrait's code.
        spread: Channels from which the picture is painted.
        fine: Channels of the picture at half its size.
        palette: Colours of the portrait's own that the picture is mixed of; 0 mixes any. They are
            the last numbers of the condition; the first is that of teeth.
        has_shade: Whether there is a shade beside the detail.
    """

    shrink: int = 4
    widths: tuple[int, ...] = (40, 64, 96)
    blocks: tuple[int, ...] = (1, 1, 1)
    code: int = 32
    spread: int = 64
    fine: int = 12
    palette: int = 0
    has_shade: bool = True

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RegionNetConfig:
        """Read the fields of JSON, where tuples are lists."""
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceNetConfig:
    """Size of the whole; the default is `nano`.

    Attributes:
        mouth: Of the network of the mouth.
        eye: Of the network of an eye.
        frame: Of the network of the frame; None has none, and leaves contours to the warp.
    """

    mouth: RegionNetConfig = RegionNetConfig(
        widths=(24, 48, 64), blocks=(1, 1, 1), spread=48, palette=3
    )
    eye: RegionNetConfig = RegionNetConfig(widths=(24, 40), blocks=(1, 1), spread=40)
    frame: RegionNetConfig | None = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> FaceNetConfig:
        """Read the fields of JSON, nested."""
        sizes: dict[str, Any] = {
            name: None if value is None else RegionNetConfig.from_dict(value)
            for name, value in fields.items()
        }
        return cls(**sizes)


class RegionInput(NamedTuple):
    """One region of B frames.

    Attributes:
        rgb: [B, 3, S, S] in [0, 1].
        maps: [B, K, G, G], geometry; see `parlante.models.face_regions`.
        allow: [B, 2, G, G] in [0, 1], where detail and shade may change the frame.
        condition: [B, D].
    """

    rgb: Tensor
    maps: Tensor
    allow: Tensor
    condition: Tensor


class Look(NamedTuple):
    """What a region's network made of the portrait, once per avatar.

    Attributes:
        features: [B, C, S / shrink, S / shrink].
        code: [B, code].
        tone: [B, 3, 1, 1], mean colour of the middle of the region. Colours are seen and painted
            relative to it, so that light and skin need not be learnt anew.
    """

    features: Tensor
    code: Tensor
    tone: Tensor


class FaceInput(NamedTuple):
    """All regions of B frames; the eyes of a frame lie side by side, the left one mirrored."""

    mouth: RegionInput
    eyes: RegionInput  # batch 2 B
    frame: RegionInput | None  # for a network of the frame


class FaceLook(NamedTuple):
    """What the networks made of B portraits."""

    mouth: Look
    eyes: Look  # batch 2 B
    frame: Look | None


class FaceChange(NamedTuple):
    """Change of colour of every region, each [B, 3, S, S], 1 = full scale."""

    mouth: Tensor
    eyes: Tensor  # [2 B, 3, S, S]
    frame: Tensor | None


class FaceNet(nn.Module):
    """Retouches mouth, eyes and frame."""

    def __init__(self, config: FaceNetConfig | None = None) -> None:
        super().__init__()
        config = FaceNetConfig() if config is None else config
        self.config = config
        self.mouth = RegionNet(config.mouth, MOUTH_PX, MOUTH_MAPS)
        self.eye = RegionNet(config.eye, EYE_PX, EYE_MAPS)
        self.frame = None
        if config.frame is not None:
            self.frame = RegionNet(config.frame, FRAME_PX, FRAME_MAPS)

    def look(self, portrait: FaceInput) -> FaceLook:
        """Look at portraits: regions of the photos themselves, with their own geometry."""
        frame = None
        if self.frame is not None and portrait.frame is not None:
            frame = self.frame.look(portrait.frame)
        return FaceLook(self.mouth.look(portrait.mouth), self.eye.look(portrait.eyes), frame)

    def forward(self, frames: FaceInput, look: FaceLook) -> FaceChange:
        """Say how the frames are to be changed."""
        frame = None
        if self.frame is not None and frames.frame is not None and look.frame is not None:
            frame = self.frame(frames.frame, look.frame)[0]
        return FaceChange(
            self.mouth(frames.mouth, look.mouth)[0], self.eye(frames.eyes, look.eyes)[0], frame
        )


class RegionNet(nn.Module):
    """The network of one region.

    Args:
        config: Size.
        size_px: S.
        num_maps: K.
    """

    def __init__(self, config: RegionNetConfig, size_px: int, num_maps: int) -> None:
        super().__init__()
        self._place: Tensor
        self._shrink, self._side = config.shrink, size_px // config.shrink
        self._num_maps = num_maps
        top = config.widths[0]
        place = torch.linspace(-1.0, 1.0, self._side)
        grid = torch.stack(torch.meshgrid(place, place, indexing="ij"))
        self.register_buffer("_place", grid[None], persistent=False)
        self._middle: Tensor
        pixel = torch.linspace(-1.0, 1.0, size_px)
        bell = torch.exp(-((pixel / MIDDLE) ** 2))
        bell = bell / bell.sum()
        self.register_buffer("_middle", bell[:, None] * bell[None], persistent=False)
        self._luma: Tensor
        self.register_buffer("_luma", torch.tensor(LUMA), persistent=False)
        self._palette = config.palette
        num_seen = NUM_COLOURS + (config.palette > 0)
        num_inputs = num_seen * config.shrink**2 + num_maps * 4
        self.stem = nn.Conv2d(num_inputs + 2, top, 1)
        self.look_stem = nn.Conv2d(num_inputs + 2, top, 1)
        self.look_block = _Block(top)
        self.look_out = nn.Conv2d(top, top, 1)
        self.look_code = nn.Sequential(
            nn.Conv2d(top, config.code, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(config.code, config.code, 3, 2, 1),
            nn.SiLU(),
        )
        self.condition = nn.Sequential(
            nn.Linear(CONDITION_DIM + config.code, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU()
        )
        levels = zip(config.widths, config.blocks, strict=True)
        self.down = nn.ModuleList(_Level(width, count, 64) for width, count in levels)
        pairs = list(zip(config.widths[:-1], config.widths[1:], strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = nn.ModuleList(_Level(a, 1, 64) for a, _ in pairs)
        self.spread = nn.Conv2d(top, config.spread, 1)
        self.detail = Painter(config.spread, config.fine, num_planes(config.palette), config.shrink)
        self.shade = nn.Conv2d(config.spread, NUM_COLOURS, 1) if config.has_shade else None
        self.detail.start_softly(first_means(config.palette))
        if self.shade is not None:
            with torch.no_grad():
                self.shade.weight.mul_(0.1)

    def look(self, portrait: RegionInput) -> Look:
        """Look at the region in the portrait itself."""
        tone = (portrait.rgb * self._middle).sum((2, 3), keepdim=True).clamp(LEAST_TONE)
        hidden = self.look_stem(self._fold(portrait, tone))
        hidden = self.look_block(F.silu(hidden), None)
        code = self.look_code(hidden).mean((2, 3))
        return Look(self.look_out(hidden), code, tone)

    def forward(self, region: RegionInput, look: Look) -> tuple[Tensor, Tensor, Tensor]:
        """Say how the region is to be changed.

        Returns:
            The change [B, 3, S, S]; the mask of detail [B, 1, S, S] in [0, 1], `allow` included;
            and the shade [B, 3, S, S] likewise, one of zeros [B, 3, 1, 1] without a shade.
        """
        palette = self._colours(region)
        numbers = region.condition
        if palette is not None:
            seen = torch.log(palette / look.tone.flatten(1)[:, None])
            numbers = torch.cat([numbers[:, :PALETTE_AT], seen.flatten(1)], 1)
            numbers = F.pad(numbers, (0, CONDITION_DIM - numbers.shape[1]))
        condition = self.condition(torch.cat([numbers, look.code], 1))
        hidden = self.stem(self._fold(region, look.tone)) + look.features
        kept = []
        for index, level in enumerate(self.down):
            hidden = level(hidden, condition)
            if index < len(self.shrink):
                kept.append(hidden)
                hidden = self.shrink[index](hidden)
        for index in reversed(range(len(self.grow))):
            grown = F.interpolate(self.grow[index](hidden), scale_factor=2.0, mode="nearest")
            hidden = self.up[index](kept[index] + grown, condition)
        hidden = F.silu(self.spread(F.silu(hidden)))
        colour, mask = read_picture(self.detail(hidden), look.tone, palette)
        size = region.rgb.shape[-2:]
        allow = F.interpolate(region.allow, size=size, mode="bilinear", align_corners=False)
        mask = mask * allow[:, :1]
        change = mask * (colour - region.rgb)
        if self.shade is None:
            return change, mask, torch.zeros_like(region.rgb[..., :1, :1])
        shade = MAX_SHADE * torch.tanh(self.shade(hidden))
        shade = F.interpolate(shade, size=size, mode="bilinear", align_corners=False)
        shade = shade * allow[:, 1:]
        return change + shade * region.rgb, mask, shade

    def _colours(self, region: RegionInput) -> Tensor | None:
        """The portrait's own colours of the inside of the region: [B, N, 3]."""
        if self._palette == 0:
            return None
        end = PALETTE_AT + NUM_COLOURS * self._palette
        stored = region.condition[:, PALETTE_AT:end]
        return stored.reshape(-1, self._palette, NUM_COLOURS).clamp(LEAST_TONE)

    def _fold(self, region: RegionInput, tone: Tensor) -> Tensor:
        """Bring all inputs to the side of the top level."""
        seen = region.rgb / tone - 1.0
        palette = self._colours(region)
        if palette is not None:
            luma = self._luma
            light = (region.rgb * luma[:, None, None]).sum(1, keepdim=True)
            teeth = (palette[:, 0] * luma).sum(1)[:, None, None, None]
            seen = torch.cat([seen, light / teeth], 1)
        colours = F.pixel_unshuffle(seen, self._shrink)
        maps = F.pixel_unshuffle(region.maps, region.maps.shape[-1] // self._side)
        place = self._place.expand(colours.shape[0], -1, -1, -1)
        return torch.cat([colours, maps, place], 1)


class _Level(nn.Module):
    """Blocks of one size."""

    def __init__(self, width: int, count: int, condition: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(width, condition) for _ in range(count))

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden, condition)
        return hidden


class _Block(nn.Module):
    """Two convolutions beside a straight way; the condition scales and shifts between them."""

    def __init__(self, width: int, condition: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.film = nn.Linear(condition, 2 * width) if condition else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        nn.init.normal_(self.second.weight, std=1e-2 * width**-0.5)

    def forward(self, hidden: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.first(F.silu(hidden))
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition)[..., None, None].chunk(2, 1)
            inner = inner * (1.0 + scale) + shift
        change: Tensor = self.second(F.silu(inner))
        return hidden + change
