"""The decoder for devices, run on a CPU: its frames are those of the loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from parlante.models import torch_decoder
from parlante.models.decoder import Decoder
from parlante.models.face_net import FaceNet, FaceNetConfig, RegionNetConfig
from parlante.models.face_retouch import FaceRetouch
from parlante.models.frame_look import FrameLook
from parlante.models.torch_avatar import TorchAvatar
from parlante.models.torch_canvas import blend_over, sample_linear
from parlante.models.torch_decoder import TorchDecoder
from parlante.models.torch_kernels import PLAIN, fused
from parlante.models.torch_pixels import Packer, Pictures, spread
from parlante.models.torch_raster import UNCOVERED_X, flow_at, front_of, planes_of, spans_of
from parlante.models.warp import raster_flow
from parlante.types import AvatarLatents, BackgroundKind, Float32Array, Uint8Array
from tests.fakes.faces import face_latents, fine_latents, full_latents
from tests.unit.renderer.test_drawing import lines_of

SMALL = FrameLook(size_px=256)
# Sums are rounded in another order, so that a level may be the next one here and there.
MAX_STEP = 1
MAX_SHARE = 1e-3

MOTIONS: dict[str, dict[str, float]] = {
    "still": {},
    "wide open": {"jawOpen": 0.8},
    "smile": {"mouthSmile": 0.8, "jawOpen": 0.2, "headYaw": -0.2},
    "rounded": {"mouthPucker": 0.7, "mouthFunnel": 0.4, "jawOpen": 0.15},
    "tongue": {"tongueOut": 0.8, "jawOpen": 0.4},
    "pressed": {"mouthPress": 0.6, "mouthClose": 0.5},
    "an F": {"mouthRollLower": 0.55, "mouthUpperUp": 0.3, "jawOpen": 0.07},
    "blink": {"eyeBlink": 1.0},
    "half shut, looking aside": {"eyeBlink": 0.5, "gazeYaw": 0.25, "gazePitch": -0.15},
    "one eye": {"eyeBlinkLeft": 0.7, "eyeWideRight": 0.5},
    "surprised": {"eyeWide": 0.9, "browInnerUp": 0.9, "browOuterUp": 0.8, "gazeYaw": 0.1},
    "turned": {"headYaw": 0.28, "headRoll": 0.1, "browInnerUp": 0.6},
    "nodding, nearer": {"headPitch": 0.22, "headLogScale": 0.15, "headX": 0.3},
    "mostly outside": {"headX": 1.6, "headY": -1.2, "jawOpen": 0.3},
}

MakeMotion = Callable[..., Float32Array]


@pytest.fixture(scope="module")
def device_decoder() -> TorchDecoder:
    return TorchDecoder("cpu")


def assert_equal(got: Uint8Array, wanted: Uint8Array) -> None:
    assert got.shape == wanted.shape
    assert got.dtype == np.uint8
    step = np.abs(got.astype(int) - wanted)
    assert step.max() <= MAX_STEP
    assert (step > 0).mean() <= MAX_SHARE


def test_a_batch_of_all_motions_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, latents: AvatarLatents, motion: MakeMotion
) -> None:
    rows = [motion(**channels) for channels in MOTIONS.values()]
    avatar, sent = decoder.prepare(latents, SMALL), device_decoder.prepare(latents, SMALL)
    got = device_decoder.render([sent] * len(rows), rows)
    wanted = [decoder.render(avatar, row) for row in rows]
    for own, right in zip(got, wanted, strict=True):
        assert_equal(own, right)
    # Every motion shows: what is compared is not one picture.
    assert len({frame.tobytes() for frame in wanted}) == len(rows)


@pytest.mark.parametrize("gap", [0.0, 0.06])
def test_the_usual_size_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, draw, latents_of, motion: MakeMotion, gap: float
) -> None:
    """Also of parted lips, whose own mouth is continued once it speaks."""
    latents = latents_of(draw(gap=gap), key="c" * 64)
    rows = [motion(jawOpen=0.4, eyeBlink=0.6, headYaw=0.2), motion(jawOpen=0.03)]
    avatar, sent = decoder.prepare(latents), device_decoder.prepare(latents)
    for own, row in zip(device_decoder.render([sent, sent], rows), rows, strict=True):
        assert_equal(own, decoder.render(avatar, row))


def test_grain_of_a_mouth_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, draw, latents_of, motion: MakeMotion
) -> None:
    portrait = draw()
    noise = np.random.default_rng(4).normal(0.0, 12.0, (*portrait.matte.shape, 1))
    grainy = np.clip(portrait.image + noise, 0, 255).astype(np.uint8)
    latents = latents_of(replace(portrait, image=grainy), key="e" * 64)
    row = motion(jawOpen=0.7, headYaw=0.1)
    avatar, sent = decoder.prepare(latents), device_decoder.prepare(latents)
    assert avatar.mouth.grain == pytest.approx(12.0, rel=0.2)
    assert_equal(device_decoder.render([sent], [row])[0], decoder.render(avatar, row))


def test_a_faded_and_blurred_picture_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, draw, latents_of, motion: MakeMotion
) -> None:
    portrait = draw()
    faded = (110 + cv2.GaussianBlur(portrait.image, (0, 0), 2.5) * 0.55).astype(np.uint8)
    latents = latents_of(replace(portrait, image=faded), key="f" * 64)
    row = motion(jawOpen=0.6, headYaw=0.1)
    avatar, sent = decoder.prepare(latents), device_decoder.prepare(latents)
    assert avatar.mouth.black > 50.0
    assert avatar.mouth.edge_px > 4.0
    assert_equal(device_decoder.render([sent], [row])[0], decoder.render(avatar, row))


def test_a_drawing_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, draw, latents_of, motion: MakeMotion
) -> None:
    drawing = lines_of(draw(gap=0.1))
    latents = latents_of(drawing, key="8" * 64)
    rows = [motion(jawOpen=0.5, headYaw=0.1), motion(mouthPucker=0.6, jawOpen=0.1)]
    avatar, sent = decoder.prepare(latents), device_decoder.prepare(latents)
    assert avatar.mouth.is_flat
    assert avatar.mouth.ink_strength > 0.9
    for own, row in zip(device_decoder.render([sent, sent], rows), rows, strict=True):
        assert_equal(own, decoder.render(avatar, row))


def test_a_smile_that_is_lost_is_as_the_loops_draw_it(
    decoder: Decoder, device_decoder: TorchDecoder, draw, latents_of, motion: MakeMotion
) -> None:
    latents = latents_of(draw(gap=0.1, smile=0.05), key="d" * 64)
    row = motion(mouthFrown=0.8, mouthPress=0.3, headYaw=0.1)
    avatar, sent = decoder.prepare(latents), device_decoder.prepare(latents)
    assert_equal(device_decoder.render([sent], [row])[0], decoder.render(avatar, row))


def test_looks_and_sizes_share_a_batch(
    decoder: Decoder, device_decoder: TorchDecoder, motion: MakeMotion
) -> None:
    head, fine, full = face_latents("1a" * 32), fine_latents("2b" * 32), full_latents("3c" * 32)
    wanted: list[tuple[AvatarLatents, FrameLook]] = [
        (head, SMALL),
        (full, FrameLook()),
        (fine, FrameLook(size_px=256, background=BackgroundKind.BLURRED)),
        (fine, FrameLook(size_px=256, background=BackgroundKind.TRANSPARENT)),
        (head, FrameLook(size_px=256, background=BackgroundKind.COLOUR, colour_rgb=(9, 99, 199))),
    ]
    rows = [motion(jawOpen=0.1 * n, headYaw=0.05 * n) for n in range(len(wanted))]
    got = device_decoder.render([device_decoder.prepare(*pair) for pair in wanted], rows)
    for own, pair, row in zip(got, wanted, rows, strict=True):
        assert_equal(own, decoder.render(decoder.prepare(*pair), row))


def test_avatars_of_a_batch_do_not_meet(device_decoder: TorchDecoder, motion: MakeMotion) -> None:
    """In any company, in any order, an avatar's frame is to the bit what it is alone."""
    avatars = [device_decoder.prepare(face_latents(key * 32), SMALL) for key in ("1a", "b2", "3c")]
    rows = [motion(jawOpen=0.2 + 0.2 * n, eyeBlink=0.3 * n) for n in range(3)]
    alone = [device_decoder.render([avatars[n]], [rows[n]])[0] for n in range(3)]
    order = [2, 0, 1, 0, 2]
    together = device_decoder.render([avatars[n] for n in order], [rows[n] for n in order])
    for n, frame in zip(order, together, strict=True):
        np.testing.assert_array_equal(frame, alone[n])


def strong_net(*, with_frame: bool) -> FaceNet:
    """A network that lays on much, so that what it changes is seen to change."""
    torch.manual_seed(3)
    region = RegionNetConfig(widths=(8,), blocks=(1,), code=8)
    frame = replace(region, shrink=8) if with_frame else None
    net = FaceNet(FaceNetConfig(mouth=region, eye=region, frame=frame))
    with torch.no_grad():
        for part in filter(None, (net.mouth, net.eye, net.frame)):
            part.detail.grow[-1].bias[-4:] = 4.0
            if part.shade is not None:
                part.shade.bias.fill_(-0.5)
    return net.eval()


@pytest.mark.parametrize("with_frame", [False, True])
def test_frames_are_retouched_as_on_the_cpu(
    decoder: Decoder, latents: AvatarLatents, motion: MakeMotion, with_frame: bool
) -> None:
    retouch = FaceRetouch(strong_net(with_frame=with_frame))
    alone, batched = Decoder(retouch), TorchDecoder("cpu", retouch)
    avatar, sent = alone.prepare(latents), batched.prepare(latents)
    rows = [
        motion(jawOpen=0.5, headYaw=0.2),
        motion(eyeBlink=0.8, headRoll=0.1),
        motion(eyeBlinkRight=0.9, mouthFunnel=0.4),
    ]
    got = batched.render([sent] * len(rows), rows)
    for own, row in zip(got, rows, strict=True):
        assert_equal(own, alone.render(avatar, row))
        assert np.abs(own.astype(int) - decoder.render(avatar, row)).max() > 20


def test_a_stream_takes_turns_with_others_in_the_arena(
    device_decoder: TorchDecoder, motion: MakeMotion
) -> None:
    """Texels are copied anew only when an avatar joins that the last batch did not have."""
    avatars = [device_decoder.prepare(face_latents(key * 32), SMALL) for key in ("1a", "b2")]
    still = motion()
    first = device_decoder.render(avatars, [still, still])
    held = device_decoder._arena.texels
    again = device_decoder.render(avatars[1:], [still])
    assert device_decoder._arena.texels is held
    np.testing.assert_array_equal(again[0], first[1])


def test_memory_of_both_sides_is_counted(
    device_decoder: TorchDecoder, latents: AvatarLatents
) -> None:
    sent = device_decoder.prepare(latents, SMALL)
    assert isinstance(sent, TorchAvatar)
    assert sent.num_bytes > sent.avatar.num_bytes + sent.avatar.canvas.nbytes


# --- the raster ----------------------------------------------------------------------------------


def random_mesh(seed: int, num: int) -> tuple[Float32Array, Float32Array, np.ndarray]:
    """Triangles of all sizes, also beyond the frame, seen from behind, and without an area."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-20, 84, (num, 1, 2))
    reach = rng.choice([0.4, 3.0, 8.0, 40.0], (num, 1, 1))
    target = (centres + rng.normal(0, 1, (num, 3, 2)) * reach).reshape(-1, 2)
    target[:9] = np.rint(target[:9])  # corners on pixels
    triangles = np.arange(3 * num).reshape(-1, 3)
    triangles[3, 2] = triangles[3, 1]
    return (
        target.astype(np.float32),
        rng.uniform(0, 500, (3 * num, 2)).astype(np.float32),
        triangles.astype(np.int32),
    )


def flow_of(meshes: Sequence[tuple[Float32Array, Float32Array, np.ndarray]], size: int) -> tuple:
    starts = np.cumsum([0, *(len(mesh[0]) for mesh in meshes)])
    triangles = [mesh[2] + start for mesh, start in zip(meshes, starts, strict=False)]
    frame = np.repeat(np.arange(len(meshes)), [len(mesh[2]) for mesh in meshes])
    planes = planes_of(
        torch.from_numpy(np.concatenate([mesh[0] for mesh in meshes])),
        torch.from_numpy(np.concatenate([mesh[1] for mesh in meshes])),
        torch.from_numpy(np.concatenate(triangles)).long(),
        size,
    )
    triangle, row = spread(planes.num_rows, int(planes.num_rows.sum()))
    start, count = spans_of(planes, torch.from_numpy(frame), triangle, row, size)
    span, rank = spread(count, int(count.sum()))
    front = front_of(start[span] + rank, triangle[span], len(meshes) * size * size)
    x, y = flow_at(planes.flow, front, size)
    return x.view(-1, size, size).numpy(), y.view(-1, size, size).numpy()


def test_raster_covers_what_the_loop_covers() -> None:
    size, meshes = 64, [random_mesh(seed, 40) for seed in range(4)]
    got_x, got_y = flow_of(meshes, size)
    shares = []
    for index, (target, source, triangles) in enumerate(meshes):
        x = np.full((size, size), UNCOVERED_X, np.float32)
        y = np.zeros((size, size), np.float32)
        raster_flow(target, source, triangles, x, y)
        covered = x != UNCOVERED_X
        shares.append(covered.mean())
        # Slivers change by hundreds of source px from one pixel to the next.
        near = np.abs(got_x[index] - x) + np.abs(got_y[index] - y) < 0.05
        assert (near | ~covered).mean() > 0.999
        assert ((got_x[index] == UNCOVERED_X) == ~covered).mean() > 0.999
    assert 0.1 < np.mean(shares) < 0.9


def test_raster_of_nothing_leaves_frames_uncovered() -> None:
    target, source, triangles = random_mesh(0, 20)
    away = target + np.float32(1000.0)
    x, _ = flow_of([(away, source, triangles)], 32)
    assert (x == UNCOVERED_X).all()


# --- lists of pixels -----------------------------------------------------------------------------


def test_spreading_repeats_each_index() -> None:
    owner, rank = spread(torch.tensor([2, 0, 3]), 5)
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert rank.tolist() == [0, 1, 0, 1, 2]


def test_packed_arrays_arrive_as_they_were() -> None:
    arrays = [
        np.arange(5, dtype=np.float32),
        np.zeros((0, 3), np.float32),
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.array([7], np.int32),
    ]
    packer = Packer()
    for array in arrays:
        packer.add(array)
    for sent, array in zip(packer.send(torch.device("cpu")), arrays, strict=True):
        assert sent.shape == array.shape
        np.testing.assert_array_equal(sent.numpy(), array)


def test_a_motion_may_be_a_view(
    decoder: Decoder, device_decoder: TorchDecoder, latents: AvatarLatents, motion: MakeMotion
) -> None:
    rows = np.stack([motion(jawOpen=0.3), motion(headYaw=0.2)], 1)
    (got,) = device_decoder.render([device_decoder.prepare(latents, SMALL)], [rows[:, 0]])
    assert_equal(got, decoder.render(decoder.prepare(latents, SMALL), rows[:, 0]))


# --- fusing --------------------------------------------------------------------------------------


def test_pixel_work_can_be_fused() -> None:
    """One graph does for any number of pixels; all of it is tried by tests.perf.torch_decoder."""
    kernels = fused("eager")
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    num_graphs = []
    for num in (6, 40, 900):
        picture = Pictures(*(torch.full((num,), value) for value in (0, 32, 16)))
        texels = torch.randint(0, 2**31, (32 * 16,), dtype=torch.int32)
        x, y = torch.rand(num) * 40 - 4, torch.rand(num) * 20 - 2
        np.testing.assert_array_equal(
            kernels.sample_linear(texels, picture, x, y), sample_linear(texels, picture, x, y)
        )
        num_graphs.append(graphs["unique_graphs"])
    assert num_graphs == [num_graphs[0]] * 3


def brighter(*args: torch.Tensor) -> torch.Tensor:
    return blend_over(*args) + 2


def no_compiler(*args: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no C compiler was found")


@pytest.mark.parametrize("broken", [brighter, no_compiler])
def test_fused_work_that_does_not_agree_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(torch_decoder, "fused", lambda _: PLAIN._replace(blend_over=broken))
    monkeypatch.setattr(torch_decoder, "WARM_UP_ROWS", (1,))
    decoder = TorchDecoder("cpu", fuse="inductor")
    decoder.warm_up()
    assert decoder._kernels is PLAIN
    assert "runs as it is" in caplog.text


def test_fused_work_that_agrees_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = PLAIN._replace(blend_over=lambda *args: blend_over(*args))
    monkeypatch.setattr(torch_decoder, "fused", lambda _: kernels)
    monkeypatch.setattr(torch_decoder, "WARM_UP_ROWS", (1,))
    decoder = TorchDecoder("cpu", fuse="inductor")
    decoder.warm_up()
    assert decoder._kernels is kernels
