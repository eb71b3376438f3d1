"""The network, its sampler and its spaces, in closed form where there is one."""

import math

import numpy as np
import pytest
import torch

from parlante.diffusion.guidance import GuidanceScales, combine, keep_rows
from parlante.diffusion.sampler import sample
from parlante.diffusion.schedule import add_noise, step
from parlante.models.audio_features import (
    LOOK_AHEAD_SAMPLES,
    NUM_FEATURES,
    NormaliserState,
    mel_energies,
    normalise,
)
from parlante.models.layers.causal_conv import CONTEXT_HOPS, FRAME_CONTEXT, HOP_CONTEXT
from parlante.models.motion_channels import to_channels
from parlante.models.motion_dit import NUM_GROUPS, NUM_READ
from parlante.models.motion_sampling import SamplerConfig
from parlante.models.motion_space import (
    CONDITION_DIM,
    FACE_SLICE,
    HEAD_SLICE,
    LATENT_DIM,
    LATENT_INDEX,
    LATENT_SCALE,
    head_latents,
)
from parlante.models.motion_weights import load_weights, save_weights
from parlante.models.pose_state import NATURAL_BLINK_SHARE, PUSH_SHARE, PoseState
from parlante.types import MOTION_INDEX, Controls, Driving, HeadPose
from services.motion.drawing import MOST_CHANGE, Place, noise_of, unhurried
from services.motion.session import half_encode

LOOK = torch.tensor([1])


@torch.inference_mode()
def test_cached_blocks_equal_the_whole_sequence(tiny_model):
    """Generation over cached keys and values is the training pass, block by block."""
    T = 8
    generator = torch.Generator().manual_seed(0)
    clean, noised = (torch.randn(1, T, LATENT_DIM, generator=generator) for _ in range(2))
    features = torch.randn(1, CONTEXT_HOPS + 4 * T, NUM_FEATURES, generator=generator)
    controls = torch.randn(1, T, CONDITION_DIM, generator=generator)
    keep = torch.ones(1, NUM_GROUPS)
    speech, _, _ = tiny_model.read_audio(features, LOOK)
    conditions = tiny_model.condition(speech, controls, keep)
    times = torch.full((1, T, 1), 0.5)
    whole = tiny_model(clean, noised, times, conditions, torch.ones(1, dtype=torch.bool))
    cache = tiny_model.empty_cache(1)
    for begin in range(0, T, 2):
        part = slice(begin, begin + 2)
        (plan,) = tiny_model.plan(conditions[:, part], (0.5,), cache)
        block = tiny_model.denoise(noised[:, part], plan, cache)
        torch.testing.assert_close(block, whole[:, part], atol=2e-5, rtol=1e-4)
        cache = tiny_model.remember(clean[:, part], cache)


@torch.inference_mode()
def test_a_past_that_is_not_seen_has_no_effect(tiny_model):
    conditions = torch.randn(2, 2, 32)
    noised = torch.randn(1, 2, LATENT_DIM).expand(2, -1, -1)
    cache = tiny_model.remember(torch.randn(2, 2, LATENT_DIM), tiny_model.empty_cache(2))
    conditions = conditions[:1].expand(2, -1, -1)
    sees = torch.tensor([True, False])
    (plan,) = tiny_model.plan(conditions, (0.5,), cache, sees)
    with_past, without = tiny_model.denoise(noised, plan, cache)
    empty = tiny_model.empty_cache(2)
    (plan,) = tiny_model.plan(conditions, (0.5,), empty)
    alone = tiny_model.denoise(noised, plan, empty)[0]
    torch.testing.assert_close(without, alone, atol=1e-5, rtol=1e-4)
    assert (with_past - alone).abs().max() > 1e-4


@torch.inference_mode()
def test_live_audio_windows_equal_the_whole_clip(tiny_model):
    features = torch.randn(1, CONTEXT_HOPS + 32, NUM_FEATURES)
    whole, mouth, _ = tiny_model.read_audio(features, LOOK)
    torch.testing.assert_close(tiny_model.mouth_of(whole), mouth)
    begin = CONTEXT_HOPS + 16
    half = tiny_model.audio_encoder.read_hops(features[:, :begin])
    window = features[:, begin - HOP_CONTEXT : begin + 8]
    part, _ = tiny_model.read_audio_live(window, half[:, :, -FRAME_CONTEXT:], LOOK)
    torch.testing.assert_close(part, whole[:, 4:6], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_live_audio_from_silence_equals_the_whole_clip(tiny_model):
    features = torch.randn(1, CONTEXT_HOPS + 16, NUM_FEATURES)
    features[:, :CONTEXT_HOPS] = 0.0
    whole, _, _ = tiny_model.read_audio(features, LOOK)
    past = half_encode(np.zeros((CONTEXT_HOPS, NUM_FEATURES), np.int8), 1, tiny_model)
    for begin in (0, 8):
        end = CONTEXT_HOPS + begin + 8
        window = features[:, end - 8 - HOP_CONTEXT : end]
        live, past = tiny_model.read_audio_live(window, past, LOOK)
        frames = slice(begin // 4, begin // 4 + 2)
        torch.testing.assert_close(live, whole[:, frames], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_encoder_knows_how_far_it_looks_ahead(tiny_model):
    features = torch.randn(1, CONTEXT_HOPS + 8, NUM_FEATURES)
    near, far = (tiny_model.read_audio(features, torch.tensor([look]))[1] for look in (0, 3))
    assert (near - far).abs().max() > 1e-3


@torch.inference_mode()
def test_dropped_condition_has_no_effect(tiny_model):
    speech = torch.randn(1, 2, 16 + NUM_READ)
    keep = torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0, 1.0]])
    rest, heard = torch.ones(1, 2, 8), torch.ones(1, 2, 2)
    first, second = (
        tiny_model.condition(
            speech * k, torch.cat([torch.full((1, 2, 2), k), rest, heard * k], -1), keep
        )
        for k in (1.0, 5.0)
    )
    torch.testing.assert_close(first, second)


def test_weights_survive_the_file(tiny_model, tmp_path):
    path = tmp_path / "motion.safetensors"
    save_weights(tiny_model.state_dict(), tiny_model.config, path)
    loaded, digest = load_weights(path)
    assert loaded.config == tiny_model.config
    assert len(digest) == 64
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, tiny_model.state_dict()[name], atol=2e-3, rtol=1e-3)


def test_sampler_reaches_the_data_when_the_prediction_is_right():
    truth = torch.randn(1, 2, 3)
    noise = torch.randn(1, 2, 3)
    seen = []

    def denoise(z, time):
        torch.testing.assert_close(z, add_noise(truth, noise, torch.tensor(time)))
        seen.append(time)
        return truth

    torch.testing.assert_close(sample(denoise, noise), truth)
    assert len(seen) <= 6


def test_step_moves_along_the_straight_line():
    clean, noise = torch.zeros(1), torch.ones(1)
    assert step(add_noise(clean, noise, torch.tensor(0.8)), clean, 0.8, 0.2).item() == (
        pytest.approx(0.2)
    )


def test_guidance_exaggerates_only_the_chosen_condition():
    scales = GuidanceScales(audio=2.0)
    assert keep_rows(scales).tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 1]]
    assert len(scales.all()) == NUM_GROUPS
    predictions = torch.tensor([3.0, 1.0]).view(2, 1, 1)
    assert combine(predictions, scales).item() == 5.0


def test_features_are_the_same_in_pieces_and_do_not_look_ahead():
    rng = np.random.default_rng(0)
    energies = rng.gamma(1.0, 1e-3, (2, 48, 40)).astype(np.float32)
    whole, _ = normalise(energies, NormaliserState.fresh(2))
    state = NormaliserState.fresh(2)
    parts = []
    for begin in range(0, 48, 8):
        part, state = normalise(energies[:, begin : begin + 8], state)
        parts.append(part)
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-5)


def test_features_hardly_change_with_level_once_speech_was_heard():
    rng = np.random.default_rng(1)
    energies = rng.gamma(1.0, 1e-2, (1, 400, 40)).astype(np.float32)
    loud, _ = normalise(energies * 16, NormaliserState.fresh(1))
    soft, _ = normalise(energies, NormaliserState.fresh(1))
    assert np.abs(loud - soft)[0, 200:, :41].mean() < 0.25


def test_mel_bands_follow_the_pitch_of_a_tone():
    time_s = np.arange(1600) / 16_000
    peaks = [
        int(mel_energies(np.sin(2 * np.pi * hz * time_s).astype(np.float32)).mean(0).argmax())
        for hz in (200, 800, 3000)
    ]
    assert peaks == sorted(peaks)
    assert len(set(peaks)) == 3
    assert LOOK_AHEAD_SAMPLES <= 1280


def test_head_latents_come_back_as_motion():
    """But for the head's mass, which costs two frames and a quarter of the
    fastest movement, and slow drifts.
    """
    time_s = np.arange(200) / 25
    track = 0.1 * np.stack([np.sin(2 * np.pi * hz * time_s) for hz in (0.6, 0.9, 1.2)] * 2, axis=1)
    latents = np.zeros((200, LATENT_DIM), np.float32)
    latents[:, HEAD_SLICE] = head_latents((track / PUSH_SHARE).astype(np.float32))
    values, _ = to_channels(latents, Controls(), PoseState())
    for shown, wanted in zip(values[102:, :3].T, track[100:-2, :3].T, strict=True):
        assert np.corrcoef(shown, wanted)[0, 1] > 0.96
        assert shown.std() == pytest.approx(wanted.std(), rel=0.3)


def test_a_tilt_starts_against_its_turn():
    noises = [noise_of(Place(7, block), SamplerConfig()) for block in range(800)]
    head = np.concatenate(noises)[:, HEAD_SLICE]
    yaw, pitch, roll = head[:, :3].T
    assert np.corrcoef(yaw, roll)[0, 1] == pytest.approx(SamplerConfig().tilt_by_turn, abs=0.06)
    assert abs(np.corrcoef(yaw, pitch)[0, 1]) < 0.08
    assert roll.std() == pytest.approx(yaw.std(), rel=0.06)


def test_faces_change_no_faster_than_faces_do():
    rng = np.random.default_rng(2)
    past = np.zeros((4, LATENT_DIM), np.float16)
    block = (9.0 * rng.normal(size=(2, LATENT_DIM))).astype(np.float16)
    calm = unhurried(block, past)
    steps = np.diff(np.concatenate([past[-1:], calm]).astype(np.float32), axis=0)
    steps *= LATENT_SCALE
    assert np.abs(steps[:, FACE_SLICE]).max() <= MOST_CHANGE * 1.01
    rest = np.ones(LATENT_DIM, bool)
    rest[FACE_SLICE] = False
    np.testing.assert_array_equal(calm[:, rest], block[:, rest])
    small = (0.02 * block).astype(np.float16)
    np.testing.assert_array_equal(unhurried(small, small[:1]), small)
    np.testing.assert_array_equal(unhurried(block[:1], past[:0]), block[:1])


def test_brows_rise_with_stresses_and_rest_in_silence():
    latents = np.zeros((500, LATENT_DIM), np.float32)
    chances = np.random.default_rng(3).random(500).astype(np.float32)
    quiet, _ = to_channels(latents, Controls(), PoseState(), chances)
    latents[:, LATENT_INDEX["jawOpen"]] = 0.3 / LATENT_SCALE[LATENT_INDEX["jawOpen"]]
    spoken, _ = to_channels(latents, Controls(), PoseState(), chances)
    brow = MOTION_INDEX["browInnerUp"]
    assert not quiet[:, brow].any()
    assert 0.2 < spoken[:, brow].max() <= 0.8
    assert 3 <= int(((spoken[1:, brow] > 0.1) & (spoken[:-1, brow] <= 0.1)).sum()) <= 30
    assert np.abs(np.diff(spoken[:, brow])).max() < 0.25
    # The head beats time with them, whatever way they go.
    pitch = spoken[:, MOTION_INDEX["headPitch"]]
    moves = (spoken[:, [brow, MOTION_INDEX["browDownLeft"]]] > 0.1).any(axis=1)
    assert not quiet[:, MOTION_INDEX["headPitch"]].any()
    assert 0.02 < pitch.max() < 0.06
    assert moves[pitch > 0.02].all()
    assert np.abs(np.diff(pitch)).max() < 0.02


def test_zero_latents_are_the_portrait_itself():
    values, _ = to_channels(np.zeros((3, LATENT_DIM), np.float32), Controls(), PoseState())
    assert not values.any()


@pytest.mark.parametrize("scale", [-50.0, 50.0])
def test_channels_stay_in_range_for_any_latents(scale):
    latents = np.full((4, LATENT_DIM), scale, np.float32)
    values, _ = to_channels(latents, Controls(expression=2.0), PoseState())
    assert values[:, 6:58].min() >= 0.0
    assert values[:, 6:58].max() <= 1.0
    assert np.abs(values[:, 58:]).max() <= math.radians(35)


def test_head_motion_zero_holds_the_head_still():
    latents = np.random.default_rng(3).normal(0, 1, (50, LATENT_DIM)).astype(np.float32)
    controls = Controls(head_motion=0.0, head_distance=2.0)
    values, _ = to_channels(latents, controls, PoseState.settled(controls))
    assert np.abs(values[:, :5]).max() == 0.0
    np.testing.assert_allclose(values[:, 5], -math.log(2.0), rtol=1e-6)


def test_distance_changes_without_a_jump_and_soon():
    latents = np.zeros((25, LATENT_DIM), np.float32)
    values, _ = to_channels(latents, Controls(head_distance=2.0), PoseState())
    size = values[:, MOTION_INDEX["headLogScale"]]
    assert abs(size[4]) > 0.5 * math.log(2.0)  # half-way after 200 ms
    assert np.abs(np.diff(size, prepend=0.0)).max() < 0.2
    np.testing.assert_allclose(size[-1], -math.log(2.0), atol=1e-3)


def test_eyes_turn_against_the_head():
    latents = np.zeros((10, LATENT_DIM), np.float32)
    latents[:, LATENT_INDEX["yaw"]] = 0.02 / LATENT_SCALE[LATENT_INDEX["yaw"]]
    values, _ = to_channels(latents, Controls(), PoseState())
    assert values[-1, MOTION_INDEX["headYaw"]] > 0.1
    assert values[-1, MOTION_INDEX["gazeYaw"]] < -0.08
    # Towards image left is the subject's right: the right eye looks out, the left eye in.
    assert values[-1, MOTION_INDEX["eyeLookOutRight"]] > 0.1
    assert values[-1, MOTION_INDEX["eyeLookInLeft"]] > 0.1


def test_head_pose_moves_the_rest_of_the_head_without_a_jump():
    latents = np.zeros((25, LATENT_DIM), np.float32)
    pose = HeadPose(yaw_rad=0.3, pitch_rad=-0.1, roll_rad=0.2)
    controls = Controls(head_pose=pose, head_motion=0.0, gaze_yaw_rad=-0.4)
    values, _ = to_channels(latents, controls, PoseState())
    np.testing.assert_allclose(values[-1, :3], (0.3, -0.1, 0.2), atol=2e-3)
    assert abs(values[4, 0]) > 0.15  # half-way after 200 ms
    assert np.abs(np.diff(values[:, 0], prepend=0.0)).max() < 0.08


def test_expression_only_rests_the_head_and_pose_only_the_face():
    latents = np.random.default_rng(5).normal(0, 1, (60, LATENT_DIM)).astype(np.float32)
    still, faceless = (
        to_channels(latents, controls, PoseState.settled(controls))[0]
        for controls in (
            Controls(driving=Driving.EXPRESSION_ONLY),
            Controls(driving=Driving.POSE_ONLY),
        )
    )
    assert not still[:, :6].any()
    assert still[:, MOTION_INDEX["jawOpen"]].max() > 0.1
    assert faceless[:, :3].std() > 0.005
    face = [MOTION_INDEX[n] for n in ("jawOpen", "mouthPucker", "browInnerUp", "eyeBlinkLeft")]
    assert not faceless[:, face].any()


def test_a_listener_nods_when_the_user_pauses():
    latents = np.zeros((400, LATENT_DIM), np.float32)
    chances = np.random.default_rng(1).random(400).astype(np.float32)
    attention = np.zeros((400, 2), np.float32)
    for start in range(20, 380, 90):
        attention[start : start + 50] = (1.0, 0.5)
    pitch = MOTION_INDEX["headPitch"]
    alone, _ = to_channels(latents, Controls(), PoseState(), chances)
    nodding, _ = to_channels(latents, Controls(), PoseState(), chances, attention)
    still, _ = to_channels(
        latents,
        Controls(head_motion=0.0),
        PoseState.settled(Controls(head_motion=0.0)),
        chances,
        attention,
    )
    assert not alone[:, pitch].any()
    assert not still[:, pitch].any()
    starts = (nodding[1:, pitch] > 0.02) & (nodding[:-1, pitch] <= 0.02)
    assert 3 <= int(starts.sum()) <= 10
    assert np.abs(np.diff(nodding[:, pitch])).max() < 0.04


def _num_blinks(rate: float) -> int:
    latents = np.zeros((3000, LATENT_DIM), np.float32)
    for frame in range(4):  # a wish lasts as long as lids that are down
        latents[frame::45, LATENT_INDEX["blink"]] = 1.0 / LATENT_SCALE[LATENT_INDEX["blink"]]
    controls = Controls(blink_rate=rate)
    values, _ = to_channels(latents, controls, PoseState.settled(controls))
    lids = values[:, MOTION_INDEX["eyeBlinkLeft"]]
    return int(((lids[1:] > 0.8) & (lids[:-1] <= 0.8)).sum())


def test_blinks_last_for_different_times():
    latents = np.zeros((3000, LATENT_DIM), np.float32)
    latents[::45, LATENT_INDEX["blink"]] = 1.0 / LATENT_SCALE[LATENT_INDEX["blink"]]
    chances = np.random.default_rng(5).random(3000).astype(np.float32)
    values, _ = to_channels(latents, Controls(), PoseState(), chances)
    shut = np.flatnonzero(np.diff((values[:, MOTION_INDEX["eyeBlinkLeft"]] > 0.9).astype(int)))
    num_frames = shut[1::2] - shut[::2][: len(shut[1::2])]
    assert len(num_frames) > 50
    assert num_frames.min() == 2
    assert num_frames.max() >= 4
    assert 2.5 < num_frames.mean() < 3.5


def test_blink_rate_scales_the_number_of_blinks():
    natural = _num_blinks(1.0)
    assert natural == pytest.approx(67 * NATURAL_BLINK_SHARE, abs=1)
    assert _num_blinks(0.0) == 0
    assert _num_blinks(0.5) == pytest.approx(natural / 2, abs=2)
    assert _num_blinks(2.0) == pytest.approx(2 * natural, rel=0.1)
