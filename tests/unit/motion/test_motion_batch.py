"""Blocks of many streams in one batch, without a server."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from parlante.diffusion.guidance import GuidanceScales
from parlante.models.motion_batch import BatchGenerator, row_of
from parlante.models.motion_dit import BLOCK_FRAMES, NUM_READ, MotionDiT
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import CONDITION_DIM, LATENT_DIM
from parlante.models.motion_weights import load_weights
from parlante.triton.motion_layout import PAST_FRAMES, BlockRow, pad_past
from services.motion import session
from services.motion.drawing import Place, draw, noise_of

PLAIN = SamplerConfig()
GUIDED = SamplerConfig(guidance=GuidanceScales(audio=1.5, past=1.3))


@pytest.fixture(scope="module")
def model() -> MotionDiT:
    return load_weights()[0]


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
        np.stack([pad_past(row.past) for row in rows]),
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
    past = np.stack([pad_past(row.past), pad_past(other.past)])
    dirty = past.copy()
    dirty[0, : PAST_FRAMES - 10] = 7.0
    generator = BatchGenerator(model, PLAIN)
    np.testing.assert_array_equal(
        generator.draw(frames, past, num_past), generator.draw(frames, dirty, num_past)
    )


def test_rows_of_another_network_are_refused(model: MotionDiT) -> None:
    row, _ = make_row(model, PLAIN, 0, 10)
    with pytest.raises(ValueError, match="values"):
        draw_all(model, PLAIN, [replace(row, frames=row.frames[:, 1:])])


def test_a_past_is_padded_in_front_and_cut_to_the_last_frames() -> None:
    past = np.arange(3 * LATENT_DIM, dtype=np.float16).reshape(3, -1)
    padded = pad_past(past)
    np.testing.assert_array_equal(padded[-3:], past)
    assert not padded[:-3].any()
    long = np.arange(50, dtype=np.float16)[:, None].repeat(LATENT_DIM, 1)
    np.testing.assert_array_equal(pad_past(long), long[-PAST_FRAMES:])
    assert pad_past(past[:0]).shape == (PAST_FRAMES, LATENT_DIM)
