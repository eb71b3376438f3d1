"""Training on a device: what would run on a GPU, as far as it can be seen without one.

A network on torch's `meta` device computes shapes alone: it refuses tensors of the CPU among its
own, and to tell a value, as a GPU would have to be waited for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.models.layers.causal_conv import CONTEXT_HOPS, AudioEncoder
from parlante.models.motion_dit import MotionDiT, MotionDiTConfig
from parlante.models.motion_space import CONDITION_DIM, FACE_SLICE, LATENT_DIM
from parlante.models.motion_weights import load_weights
from parlante.training.batches import Batch
from parlante.training.checkpoint import Checkpoint, follow, load_checkpoint
from parlante.training.corpus import Corpus
from parlante.training.device import Hardware, choose_device
from parlante.training.loop import TrainingConfig, objective_of, train
from parlante.training.muon import Muon, MuonAndAdamW, orthogonalise, orthogonalise_all
from parlante.training.objective import Noise, draw_noise
from parlante.training.precision import runs_in_bfloat16
from parlante.training.takes import CLIP_FRAMES

TINY = TrainingConfig(
    model=MotionDiTConfig(
        width=16, num_layers=1, num_heads=2, feed_forward=2, audio_width=8, past_frames=8
    ),
    num_steps=5,
    reading_steps=2,
    batch_size=4,
    num_frames=16,
    warmup_steps=2,
    foresight_batches=2,
    checkpoint_steps=10,
    bfloat16=False,
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Noise in the shapes of a corpus."""
    rng = np.random.default_rng(0)
    clips = 4

    def noise(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 1.0, (clips, *shape)).astype(np.float16)

    return Corpus(
        np.abs(3.0 * noise(CLIP_FRAMES * 4, 40)),
        noise(1, CLIP_FRAMES, LATENT_DIM),
        noise(1, CLIP_FRAMES, CONDITION_DIM),
        np.ones((clips, CLIP_FRAMES), np.float16),
        rng.integers(0, 16, (clips, CLIP_FRAMES)).astype(np.uint8),
    )


def _step_inputs(config: TrainingConfig, device: str) -> tuple[Batch, Noise]:
    B, T = config.batch_size, config.num_frames
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        torch.randn(B, CONTEXT_HOPS + 4 * T, 42, generator=generator),
        torch.randn(B, T, LATENT_DIM, generator=generator),
        torch.randn(B, T, CONDITION_DIM, generator=generator),
        torch.randint(0, 16, (B, T), generator=generator),
        torch.arange(B) % 4,
    )
    parts = (getattr(batch, name).to(device) for name in Batch.__slots__)
    noise = (torch.from_numpy(part).to(device) for part in draw_noise(config, B, generator))
    return Batch(*parts), Noise(*noise)


class _StaysOn(TorchDispatchMode):
    """Refuses operations that give a tensor on another device than the one named."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device
        self.num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, Tensor):
                assert value.device.type == self._device, f"{func} on {value.device}"
        self.num += 1
        return made


def test_every_second_past_is_of_another_mood() -> None:
    generator = torch.Generator().manual_seed(0)
    config = replace(TINY, past_drift=2.0)
    drift = Noise(*map(torch.from_numpy, draw_noise(config, 400, generator))).drift
    is_off = drift.abs().sum(dim=(1, 2)) > 0
    assert 0.4 < is_off.float().mean() < 0.6
    assert drift.shape[1] == 1  # the whole past is off by the same
    of_face = drift[is_off][:, 0, FACE_SLICE]
    assert 0.8 < of_face.std() < 1.6
    rest = drift.clone()
    rest[..., FACE_SLICE] = 0.0
    assert not rest.any()
    assert not Noise(
        *map(torch.from_numpy, draw_noise(replace(TINY, past_drift=0.0), 9, generator))
    ).drift.any()


def test_a_step_stays_on_the_device_and_never_waits_for_it() -> None:
    config = replace(TINY, model=MotionDiTConfig(width=64, num_heads=2))
    model = MotionDiT(config.model).to("meta")
    # Of AdamW, torch has a version for CUDA that stays there.
    optimizer = Muon([p for p in model.parameters() if p.ndim > 1], 1e-3)
    batch, noise = _step_inputs(config, "meta")
    objective = objective_of(model, config)
    with _StaysOn("meta") as seen:
        for loss in (objective.reading(batch), objective.whole(batch, noise)[0]):
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    assert seen.num > 500


def test_look_aheads_read_together_give_what_they_give_alone() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(8)
    nn.init.normal_(encoder.aligned.mix.weight)
    nn.init.normal_(encoder.aligned.bias)
    frames = torch.randn(5, 8, 40)
    look = torch.tensor([2, 0, 3, 1, 2])
    normed = encoder.aligned.norm(frames)
    together = encoder.aligned.read_mixed(normed, look)
    torch.testing.assert_close(together, encoder.aligned(frames, look))
    late, early = (encoder.aligned.read_mixed(normed, torch.full((5,), n)) for n in (0, 3))
    assert not torch.allclose(late, early)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_normalised_at_once_are_as_step_by_step(dtype: torch.dtype) -> None:
    norm = AudioEncoder(8).norm
    nn.init.normal_(norm.scale)
    x = 3.0 * torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(4)).to(dtype)
    x[0, :, 3] = 0.0
    at_once = norm.normalise_at_once(x)
    assert at_once.dtype == norm(x).dtype
    torch.testing.assert_close(
        at_once, norm(x), rtol=0.02 if dtype != torch.float32 else 1e-5, atol=1e-6
    )


def test_matrices_moved_together_move_as_each_alone() -> None:
    def move(together: bool) -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        shapes = [(64, 80), (80, 64), (64, 16, 5), (96, 96), (64, 80)]
        weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
        muon = Muon(weights, 0.1)
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            weights[3].grad = None
            if together:
                moving = [weight for weight in weights if weight.grad is not None]
                muon.move_together(moving, muon.param_groups[0])
            else:
                muon.step()
        means = [muon.state[weight]["mean"] for weight in weights if weight.grad is not None]
        return [*(weight.detach() for weight in weights), *means]

    for alone, joint in zip(move(False), move(True), strict=True):
        torch.testing.assert_close(joint, alone, rtol=1e-4, atol=1e-5)


def test_matrices_orthogonalised_together_keep_to_themselves() -> None:
    matrices = torch.randn(3, 64, 90, generator=torch.Generator().manual_seed(2))
    matrices[1] *= 1e-3
    joint = orthogonalise_all(matrices)
    for alone, matrix in zip(joint, matrices, strict=True):
        torch.testing.assert_close(alone, orthogonalise(matrix), rtol=1e-4, atol=1e-5)


def test_optimiser_goes_on_from_a_state_of_another_device() -> None:
    net = nn.Linear(64, 64)
    optimizer = MuonAndAdamW(net, 0.01)
    net(torch.ones(1, 64)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    state["adamw"]["param_groups"][0]["fused"] = True  # as a GPU's run wrote it
    again = MuonAndAdamW(net, 0.01)
    again.load_state_dict(state)
    assert again.state_dict()["adamw"]["param_groups"][0]["fused"] is None
    assert state["adamw"]["param_groups"][0]["fused"] is True
    again.step()


def _checkpoint(out: Path) -> Checkpoint:
    stored = load_checkpoint(out / "checkpoint.pt")
    assert stored is not None
    return stored


def test_a_run_cut_off_with_workers_ends_as_one_unbroken_without(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, checkpoint_steps=3)
    train(config, corpus, tmp_path / "whole")
    with monkeypatch.context() as patch:

        def cut_off(average: Any, state: Any, step: int, most: float) -> None:
            follow(average, state, step, most)
            if step == 4:
                raise KeyboardInterrupt

        patch.setattr("parlante.training.loop.follow", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(config, corpus, tmp_path / "cut", hardware=Hardware(num_workers=2))
    assert _checkpoint(tmp_path / "cut").step == 3
    train(config, corpus, tmp_path / "cut", hardware=Hardware(num_workers=3))
    whole, cut = (_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert whole.step == cut.step == config.num_steps
    for name, tensor in whole.average.items():
        assert torch.equal(cut.average[name], tensor)
        assert torch.equal(cut.model[name], whole.model[name])
    assert load_weights(tmp_path / "cut" / "motion.safetensors")[0].config == TINY.model


def test_what_is_heard_can_be_kept(corpus: Corpus, tmp_path: Path) -> None:
    first = train(TINY, corpus, tmp_path / "first")
    config = replace(TINY, reading_steps=0, keep_reading=True, average_decay=0.5)
    second = train(config, corpus, tmp_path / "second", first)
    before, after = load_file(first), load_file(second)
    reading = ("audio_encoder.", "mouth_reader.", "namer.")
    for name, tensor in before.items():
        is_kept = torch.equal(tensor, after[name])
        assert is_kept or not name.startswith(reading), name
    assert not torch.equal(before["head.weight"], after["head.weight"])
    with pytest.raises(InvalidInput, match="keep_reading"):
        replace(TINY, keep_reading=True)


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Hardware.choose() == Hardware()
    assert Hardware.choose("cpu", 3).num_workers == 3


def test_a_gpu_has_batches_drawn_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device() == choose_device("cuda") == torch.device("cuda", 0)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    assert 1 <= Hardware.choose().num_workers <= 12
    with pytest.raises(FailedPrecondition, match=r"cuda:2 is wanted and torch .* finds 2 GPUs"):
        choose_device("cuda:2")


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(FailedPrecondition, match="--device cpu") as refused:
        choose_device("cuda")
    assert refused.value.reason == "NO_SUCH_DEVICE"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu"}, "device must be auto, cpu, cuda or cuda:N; got tpu"),
        ({"device": "cuda:x"}, "got cuda:x"),
        ({"device": "cpu", "num_workers": -1}, "num_workers must be at least 0; got -1"),
        ({"device": "cpu", "fuse": "all"}, "fuse must be one of none, kernels, graphs; got all"),
        ({"device": "cpu", "fuse": "graphs"}, "none or kernels where no GPU trains; got graphs"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        Hardware.choose(**options)


def test_bfloat16_is_what_a_gpu_multiplies_in() -> None:
    assert runs_in_bfloat16(None, "cuda")
    assert not runs_in_bfloat16(False, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records on a GPU")
def test_replayed_steps_learn_what_plain_ones_do(corpus: Corpus, tmp_path: Path) -> None:
    weights = {
        fuse: load_file(
            train(TINY, corpus, tmp_path / fuse, hardware=Hardware.choose("cuda", 0, fuse))
        )
        for fuse in ("none", "graphs")
    }
    for name, replayed in weights["graphs"].items():
        torch.testing.assert_close(replayed, weights["none"][name], rtol=0.02, atol=2e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it loads its compiler
def test_losses_compile_whole_and_stay_as_they_are() -> None:
    torch.manual_seed(5)
    model = MotionDiT(TINY.model)
    batch, noise = _step_inputs(TINY, "cpu")
    objective = objective_of(model, TINY)
    for function, inputs in ((objective.reading, (batch,)), (objective.whole, (batch, noise))):
        compiled = torch.compile(function, backend="eager", fullgraph=True, dynamic=False)
        torch.testing.assert_close(compiled(*inputs), function(*inputs))
