"""Files of weights: what is written is read, what does not fit is refused with what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parlante.errors import FailedPrecondition
from parlante.models.network_file import NetworkKind, read_network, write_network

KIND = NetworkKind(
    name="weights of a test",
    marks={"architecture": "1", "space": "small"},
    reason="TEST_WEIGHTS_UNUSABLE",
    advice="train some",
)


def build(config: dict, metadata: dict) -> nn.Module:
    assert metadata["architecture"] == "1"
    return nn.Sequential(nn.Linear(config["width"], 2), nn.BatchNorm1d(2))


def write(path, kind=KIND, width=3, **extra) -> nn.Module:
    torch.manual_seed(1)
    net = build({"width": width}, {"architecture": "1"})
    write_network(kind, net.state_dict(), {"width": width}, path, extra)
    return net


def test_a_network_is_read_as_it_was_written(tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    written = write(path)
    read, digest = read_network(KIND, path, build)
    assert not read.training
    assert len(digest) == 64
    for name, tensor in read.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, written.state_dict()[name].half().float())
    assert read_network(KIND, path, build)[1] == digest


def test_builders_get_all_metadata(tmp_path) -> None:
    path, seen = tmp_path / "net.safetensors", {}
    write(path, encoder="ours")

    def noting(config: dict, metadata: dict) -> nn.Module:
        seen.update(metadata)
        return build(config, metadata)

    read_network(KIND, path, noting)
    assert seen["encoder"] == "ours"


def refusal(path) -> FailedPrecondition:
    with pytest.raises(FailedPrecondition) as caught:
        read_network(KIND, path, build)
    assert caught.value.reason == "TEST_WEIGHTS_UNUSABLE"
    assert "train some" in caught.value.message
    assert str(path.parent) not in caught.value.message
    return caught.value


def test_other_releases_are_named(tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    old = NetworkKind(
        name="old", marks={"architecture": "0", "space": "small"}, reason="R", advice="a"
    )
    write(path, old)
    assert "must have architecture 1, got 0" in refusal(path).message


def test_other_tensors_and_damaged_or_missing_files_are_refused(tmp_path) -> None:
    path = tmp_path / "net.safetensors"
    refusal(path)
    write(path)
    path.write_bytes(path.read_bytes()[:-5])
    refusal(path)
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    write_network(KIND, net.state_dict(), {"width": 3}, path)
    refusal(path)
    write_network(KIND, net.state_dict(), {"height": 3}, path)
    refusal(path)
