"""One optimiser step of the face network, of plain operations or of recorded ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from parlante.models.face_features import PartNet
from parlante.models.face_net import FaceNet, RegionNet
from parlante.training.device import Hardware
from parlante.training.face.batches import RegionBatch
from parlante.training.face.cache import REGIONS
from parlante.training.face.config import FaceTrainingConfig
from parlante.training.face.feed import Batches
from parlante.training.face.judges import Judges
from parlante.training.face.losses import region_loss
from parlante.training.muon import MuonAndAdamW, cosine_with_warmup
from parlante.training.precision import runs_in_bfloat16
from parlante.training.replay import Replay

__all__ = ["FaceSteps", "Reports", "region_nets"]

JUDGE_RISE: Final = 0.05  # of a run, over which judges come to count in full

Reports = dict[str, list[Tensor]]  # mean error before and after of the last steps, [2] each


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a region's step is made of: steps of one kind are the same operations."""

    region: str
    num_twins: int
    sees_likeness: bool
    is_judged: bool


class FaceSteps:
    """Takes the steps of a run.

    Args:
        net: Trained in place.
        optimizer: Of the network.
        config: The run.
        hardware: What it runs on.
        parts: Sees likeness; None leaves that out.
        judges: Of patches; None has none.

    Attributes:
        reports: Of the steps so far, until someone empties it.
    """

    def __init__(
        self,
        net: FaceNet,
        optimizer: MuonAndAdamW,
        config: FaceTrainingConfig,
        hardware: Hardware,
        *,
        parts: PartNet | None,
        judges: Judges | None,
    ) -> None:
        self._nets = region_nets(net)
        self._optimizer, self._config, self._hardware = optimizer, config, hardware
        self._parts, self._judges = parts, judges
        self._bfloat16 = runs_in_bfloat16(config.bfloat16, hardware.device.type)
        self._replays: dict[_Kind, Replay] = {}
        self.reports: Reports = {name: [] for name in REGIONS}

    def take(self, step: int, place: int, batches: Batches) -> None:
        """Take one step.

        Args:
            step: Its number.
            place: The number of the step of a whole run that it counts as.
            batches: Of all regions that are trained.
        """
        config = self._config
        pace = cosine_with_warmup(place, config.num_steps, config.warmup_steps)
        self._optimizer.set_lr(config.learning_rate * pace)
        late = place / config.num_steps - config.judged_from
        truth = config.losses.truth * min(max(late / JUDGE_RISE, 0.0), 1.0)
        sees_likeness = step % config.likeness_every == 0
        if self._hardware.fuse != "graphs":
            self._optimizer.zero_grad()
        for name, net in self._nets.items():
            kind = _Kind(
                region=name,
                num_twins=batches[name].num_twins,
                sees_likeness=sees_likeness and name != "frame",
                is_judged=truth > 0.0,
            )
            share = torch.full((), truth, device=self._hardware.device)
            tensors = (*batches[name].tensors, share)
            self.reports[name].append(self._gradients(kind, tensors))
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        self._optimizer.step()

    def _gradients(self, kind: _Kind, tensors: Sequence[Tensor]) -> Tensor:
        """Make a region's gradients; gives the report of `region_loss`."""
        if self._hardware.fuse != "graphs":
            loss, report = self._loss(kind, tensors)
            loss.backward()  # type: ignore[no-untyped-call]
            return report
        if kind not in self._replays:
            moving = list(self._nets[kind.region].parameters())
            self._replays[kind] = Replay(lambda batch: self._loss(kind, batch), moving, tensors)
        return self._replays[kind](tensors)[1]

    def _loss(self, kind: _Kind, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        batch, truth = RegionBatch.joined(tensors[:-1], kind.num_twins), tensors[-1]
        pull = None
        if kind.is_judged and self._judges is not None:
            pull = self._judges.judge(kind.region, batch, truth)
        return region_loss(
            self._nets[kind.region],
            batch,
            self._parts if kind.sees_likeness else None,
            self._config.losses,
            pull=pull,
            bfloat16=self._bfloat16,
        )


def region_nets(net: FaceNet) -> dict[str, RegionNet]:
    """The networks that there are, by region."""
    nets = {"mouth": net.mouth, "eyes": net.eye}
    return nets if net.frame is None else nets | {"frame": net.frame}
