"""Weights of a network in one safetensors file that knows the network's size and kind.

All networks are kept alike: float16, the fields of their config as JSON, and marks that must be
those of this release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from parlante.errors import FailedPrecondition

__all__ = ["NetworkKind", "read_network", "write_network"]

Net = TypeVar("Net", bound=nn.Module)
_COUNTER: Final = "num_batches_tracked"  # of batch norms; only training reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind:
    """What a file holds.

    Attributes:
        name: As messages call it, "weights of the face network".
        marks: What must be the same in the file: raised where old weights no longer fit.
        reason: Of the error when there is no such file, or it holds something else.
        advice: What to do then.
    """

    name: str
    marks: Mapping[str, str] = field(hash=False)
    reason: str
    advice: str

    def unusable(self, problem: str) -> FailedPrecondition:
        """The error that says so."""
        return FailedPrecondition(
            f"{self.name} are needed; {problem}; {self.advice}", reason=self.reason
        )


def write_network(
    kind: NetworkKind,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    path: Path,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write weights as float16, with the network's size beside them.

    Args:
        kind: What it is.
        state: Of the network.
        config: Fields of its config, JSON values.
        path: Of the file.
        extra: What else its metadata say.
    """
    halves = {
        name: tensor.to("cpu", torch.float16).contiguous()
        for name, tensor in state.items()
        if not name.endswith(_COUNTER)
    }
    metadata = {**kind.marks, "config": json.dumps(config, sort_keys=True), **(extra or {})}
    save_file(halves, path, metadata=metadata)


def read_network(
    kind: NetworkKind, path: Path, build: Callable[[dict[str, Any], dict[str, str]], Net]
) -> tuple[Net, str]:
    """Read a network: float32, in evaluation mode, and the hex SHA-256 of its file.

    Args:
        kind: What it must be.
        path: Of the file.
        build: Gives the network, its weights still random, for a config and all metadata.

    Raises:
        FailedPrecondition: The file is missing, of another kind or release, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = dict(stored.metadata() or {})
            _check(kind, path, metadata)
            net = build(json.loads(metadata["config"]), metadata)
            state = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
        missing, unknown = net.load_state_dict(state, strict=False)
        if unknown or any(not name.endswith(_COUNTER) for name in missing):
            raise kind.unusable(f"{path.name} has other tensors than the network")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise kind.unusable(f"{path.name} is missing or cannot be read") from error
    return net.eval(), digest


def _check(kind: NetworkKind, path: Path, metadata: Mapping[str, str]) -> None:
    for mark, wanted in kind.marks.items():
        found = metadata.get(mark, "none")
        if found != wanted:
            raise kind.unusable(f"{path.name} must have {mark} {wanted}, got {found}")
