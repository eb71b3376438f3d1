"""Blocks of many streams in one batch, without a server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from parlante.diffusion.guidance import GuidanceScales
from parlante.models.motion_batch import BatchGenerator, row_of
from parlante.models.motion_dit import BLOCK_FRAMES, NUM_READ, MotionDiT, MotionDiTConfig
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.motion_weights import load_weights
from parlante.triton.motion_client import MotionClient
from parlante.triton.motion_layout import BlockRow, pad_past
from services.motion import session
from services.motion.drawing import Place, draw, noise_of

PLAIN = SamplerConfig()
GUIDED = SamplerConfig(guidance=GuidanceScales(audio=1.5, past=1.3))


@pytest.fixture(scope="module")
def model() -> MotionDiT:
    return load_weights()[0]


def tiny_model(past_frames: int) -> MotionDiT:
    """A network whose every part, also those that start at zero, does something."""
    torch.manual_seed(7)
    model = MotionDiT(
        MotionDiTConfig(
            width=32,
            num_layers=2,
            num_heads=2,
            feed_forward=2,
            audio_width=16,
            past_frames=past_frames,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def make_row(
    model: MotionDiT, sampler: SamplerConfig, number: int, num_past: int
) -> tuple[BlockRow, np.ndarray]:
    """A row, and what this process draws of it."""
    rng = torch.Generator().manual_seed(number)
    speech = torch.randn(1, BLOCK_FRAMES, model.config.audio_width + NUM_READ, generator=rng)
    controls = torch.randn(1, BLOCK_FRAMES, CONDITION_DIM, generator=rng)
    past = torch.randn(num_past, LATENT_DIM, generator=rng).numpy().astype(np.float16)
    place = Place(number, num_past // BLOCK_FRAMES)
    with torch.inference_mode():
        right = draw(speech, controls, place, session.recall(past, model), model, sampler)
    return row_of(speech, controls, noise_of(place, sampler), past), right


def draw_all(model: MotionDiT, sampler: SamplerConfig, rows: list[BlockRow]) -> np.ndarray:
    return BatchGenerator(model, sampler).draw(
        np.stack([row.frames for row in rows]),
        np.stack([pad_past(row.past, model.config.past_frames) for row in rows]),
        np.array([[len(row.past)] for row in rows], np.int32),
    )


@pytest.mark.parametrize("sampler", [PLAIN, GUIDED], ids=["plain", "guided"])
@pytest.mark.parametrize("pasts", [[48], [0], [48, 48, 48], [0, 2, 30, 48, 48, 16]], ids=str)
def test_a_batch_gives_each_stream_what_it_gets_alone(
    model: MotionDiT, sampler: SamplerConfig, pasts: list[int]
) -> None:
    made = [make_row(model, sampler, number, past) for number, past in enumerate(pasts)]
    got = draw_all(model, sampler, [row for row, _ in made])
    for own, (_, right) in zip(got, made, strict=True):
        # The last bit of float16, where sums were rounded in another order.
        np.testing.assert_allclose(own, right, rtol=2e-3, atol=2e-3)


def test_no_stream_sees_another(model: MotionDiT) -> None:
    rows = [make_row(model, PLAIN, number, 48)[0] for number in range(3)]
    before = draw_all(model, PLAIN, rows)
    rows[1] = replace(rows[1], frames=rows[1].frames + 1, past=rows[1].past + 1)
    after = draw_all(model, PLAIN, rows)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert not np.array_equal(after[1], before[1])


def test_what_is_no_past_does_not_matter(model: MotionDiT) -> None:
    row, _ = make_row(model, PLAIN, 0, 10)
    other, _ = make_row(model, PLAIN, 1, 48)
    frames, num_past = np.stack([row.frames, other.frames]), np.array([[10], [48]], np.int32)
    past = np.stack([pad_past(each.past, 48) for each in (row, other)])
    dirty = past.copy()
    dirty[0, : 48 - 10] = 7.0
    generator = BatchGenerator(model, PLAIN)
    np.testing.assert_array_equal(
        generator.draw(frames, past, num_past), generator.draw(frames, dirty, num_past)
    )


@pytest.mark.parametrize("past_frames", [8, 96])
def test_a_network_is_given_all_that_it_remembers(past_frames: int) -> None:
    """A past was once cut to 48 frames, whatever the network remembered."""
    model = tiny_model(past_frames)
    pasts = [past_frames, past_frames - 2, 0]
    made = [make_row(model, PLAIN, number, past) for number, past in enumerate(pasts)]
    rows = [row for row, _ in made]
    got = draw_all(model, PLAIN, rows)
    for own, (_, right) in zip(got, made, strict=True):
        np.testing.assert_allclose(own, right, rtol=2e-3, atol=2e-3)
    # The oldest frame counts, so none was cut away.
    other = rows[0].past.copy()
    other[0] += 3
    assert not np.array_equal(draw_all(model, PLAIN, [replace(rows[0], past=other)])[0], got[0])


def test_a_past_of_another_length_is_refused() -> None:
    model = tiny_model(96)
    row, _ = make_row(model, PLAIN, 0, 48)
    with pytest.raises(ValueError, match="96 frames that the network remembers are needed; got 48"):
        BatchGenerator(model, PLAIN).draw(
            row.frames[None], row.past[None], np.array([[48]], np.int32)
        )


def test_a_client_sends_what_its_network_remembers() -> None:
    model = tiny_model(96)
    row, _ = make_row(model, PLAIN, 0, 96)

    async def request() -> Any:
        client = MotionClient("127.0.0.1:1", "tiny", 96)
        try:
            return client._request(row)
        finally:
            await client.aclose()

    made = asyncio.run(request())
    assert list(made.inputs[1].shape) == [1, 96, LATENT_DIM]
    sent = np.frombuffer(made.raw_input_contents[1], "<f2").reshape(96, LATENT_DIM)
    np.testing.assert_array_equal(sent, row.past)


def test_rows_of_another_network_are_refused(model: MotionDiT) -> None:
    row, _ = make_row(model, PLAIN, 0, 10)
    with pytest.raises(ValueError, match="values"):
        draw_all(model, PLAIN, [replace(row, frames=row.frames[:, 1:])])


def test_a_past_is_padded_in_front_and_cut_to_the_last_frames() -> None:
    past = np.arange(3 * LATENT_DIM, dtype=np.float16).reshape(3, -1)
    padded = pad_past(past, 48)
    np.testing.assert_array_equal(padded[-3:], past)
    assert not padded[:-3].any()
    long = np.arange(50, dtype=np.float16)[:, None].repeat(LATENT_DIM, 1)
    np.testing.assert_array_equal(pad_past(long, 48), long[-48:])
    assert pad_past(past[:0], 48).shape == (48, LATENT_DIM)
