"""The optimiser of our trainings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parlante.training.muon import Muon, MuonAndAdamW, orthogonalise


@pytest.mark.parametrize("shape", [(64, 200), (200, 64)])
def test_orthogonalised_matrix_keeps_its_directions_and_evens_their_lengths(
    shape: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator) * torch.logspace(0, -1, shape[1])
    result = orthogonalise(matrix)
    assert torch.linalg.svdvals(result).min() > 0.3
    assert torch.linalg.svdvals(result).max() < 1.3
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    along = (u.T @ result @ vh.T).diagonal()
    assert (along > 0.3).all()


def test_kernels_and_matrices_are_moved_by_muon_and_the_rest_by_adamw() -> None:
    net = nn.Sequential(nn.Conv1d(64, 64, 3), nn.Conv1d(64, 64, 1), nn.Conv1d(64, 9, 1))
    optimizer = MuonAndAdamW(net, lr=0.01)
    state = optimizer.state_dict()
    assert [len(part["param_groups"][0]["params"]) for part in state.values()] == [4, 2]


def test_step_has_the_size_of_one_of_adamw() -> None:
    weight = nn.Parameter(torch.zeros(96, 160, 5))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=1e-3, weight_decay=0.0).step()
    assert 0.1e-3 < float(weight.detach().square().mean().sqrt()) < 0.4e-3


def test_learns_and_goes_on_from_its_state() -> None:
    def run(steps: int, stop: int | None = None) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        x, y = (torch.randn(256, 64, generator=generator) for _ in range(2))
        torch.manual_seed(4)
        net = nn.Linear(64, 64)
        optimizer = MuonAndAdamW(net, 0.02)
        for step in range(steps):
            if step == stop:
                stored, weights = optimizer.state_dict(), net.state_dict()
                net = nn.Linear(64, 64)
                net.load_state_dict(weights)
                optimizer = MuonAndAdamW(net, 0.5)
                optimizer.load_state_dict(stored)
                optimizer.set_lr(0.02)
            loss = (net(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.detach()

    assert run(60) < 0.9 * run(1)
    assert torch.equal(run(8), run(8, stop=4))
