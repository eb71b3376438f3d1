"""Where a decoder draws, by the device of its instance and by what is chosen."""

from __future__ import annotations

import pytest

from parlante.errors import FailedPrecondition
from parlante.triton.device import choose_device

CPU = {"model_instance_kind": "CPU", "model_instance_device_id": "0"}
GPU = {"model_instance_kind": "GPU", "model_instance_device_id": "1"}


@pytest.mark.parametrize(
    ("args", "choice", "device"),
    [
        (CPU, "auto", None),
        (GPU, "auto", "cuda:1"),
        (GPU, "loops", None),
        (CPU, "cpu", "cpu"),
        (CPU, "cuda:0", "cuda:0"),
        (GPU, "cuda", "cuda"),
    ],
)
def test_the_device_is_the_instances_or_the_chosen_one(
    args: dict[str, str], choice: str, device: str | None
) -> None:
    assert choose_device(args, choice, num_gpus=lambda: 2) == device


@pytest.mark.parametrize(("args", "choice"), [(CPU, "auto"), (GPU, "loops"), (CPU, "cpu")])
def test_torch_is_not_asked_where_no_gpu_is_wanted(args: dict[str, str], choice: str) -> None:
    def never() -> int:
        raise AssertionError("torch was asked")

    choose_device(args, choice, num_gpus=never)


@pytest.mark.parametrize(("args", "choice"), [(GPU, "auto"), (CPU, "cuda:1")])
def test_a_gpu_that_torch_cannot_use_is_refused(args: dict[str, str], choice: str) -> None:
    with pytest.raises(FailedPrecondition, match="cuda:1 is wanted and torch finds 1 GPUs") as told:
        choose_device(args, choice, num_gpus=lambda: 1)
    assert told.value.reason == "NO_SUCH_DEVICE"


@pytest.mark.parametrize("choice", ["gpu", "cuda:x", "tpu:0", ""])
def test_what_is_no_device_is_refused(choice: str) -> None:
    with pytest.raises(FailedPrecondition, match="a device must be"):
        choose_device(CPU, choice, num_gpus=lambda: 8)
