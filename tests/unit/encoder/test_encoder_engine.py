"""The engine: one computation per portrait, names, restarts, load, cancellation."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parlante.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Overloaded,
    PortraitRejected,
    Unavailable,
)
from parlante.types import FaceChoice, FaceSelection, Uint8Array
from services.encoder.engine import EncoderEngine, LatentMaker
from services.encoder.store import AvatarStore

DIGEST = "d" * 64


@asynccontextmanager
async def open_engine(
    folder: Path, maker: LatentMaker, *, memory_bytes: int = 1 << 20, max_pending: int = 4
) -> AsyncIterator[EncoderEngine]:
    engine = EncoderEngine(
        AvatarStore(folder),
        lambda: maker,
        DIGEST,
        memory_bytes=memory_bytes,
        max_pending=max_pending,
    )
    try:
        yield engine
    finally:
        await engine.aclose()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():  # noqa: ASYNC110 - threads and internals signal no event
            await asyncio.sleep(0.002)


async def test_create_names_by_the_key(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        info = await engine.create(pictures[0])
        assert info.name == f"avatar-{info.key[:12]}"
        assert (info.source_width_px, info.source_height_px) == (8, 8)
        assert (info.bundle_digest, info.latent_bytes, info.from_cache) == (DIGEST, 1000, False)
        assert await engine.get(info.name) == info
        assert (await engine.latents(info.key)).key == info.key


async def test_same_pixels_in_another_file_are_not_encoded_again(
    maker, pictures, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(pictures[3])).save(buffer, "WEBP", lossless=True)
    async with open_engine(tmp_path, maker) as engine:
        first = await engine.create(pictures[3])
        second = await engine.create(buffer.getvalue())
    assert (first.key, second.from_cache, maker.num_calls) == (second.key, True, 1)


async def test_selection_is_part_of_the_key(maker, pictures, tmp_path: Path) -> None:
    selections = [
        FaceSelection(),
        FaceSelection(choice=FaceChoice.LARGEST),
        FaceSelection(choice=FaceChoice.INDEX, index=0),
        FaceSelection(choice=FaceChoice.INDEX, index=1),
    ]
    async with open_engine(tmp_path, maker) as engine:
        infos = [await engine.create(pictures[0], selection=choice) for choice in selections]
    assert len({info.key for info in infos}) == 4


async def test_many_who_ask_at_once_share_one_computation(maker, pictures, tmp_path: Path) -> None:
    maker.may_run.clear()
    async with open_engine(tmp_path, maker, max_pending=1) as engine:
        tasks = [asyncio.create_task(engine.create(pictures[0], name=f"n{i}")) for i in range(30)]
        await wait_until(maker.started.is_set)
        maker.may_run.set()
        infos = await asyncio.gather(*tasks)
        assert len((await engine.list())[0]) == 30
    assert maker.num_calls == 1
    assert len({info.key for info in infos}) == 1


async def test_cancelled_waiter_does_not_stop_the_others(maker, pictures, tmp_path: Path) -> None:
    maker.may_run.clear()
    async with open_engine(tmp_path, maker) as engine:
        first = asyncio.create_task(engine.create(pictures[0]))
        await wait_until(maker.started.is_set)
        second = asyncio.create_task(engine.create(pictures[0]))
        await asyncio.sleep(0.02)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        maker.may_run.set()
        assert (await second).key
    assert maker.num_calls == 1


async def test_result_is_kept_when_all_waiters_go(maker, pictures, tmp_path: Path) -> None:
    maker.may_run.clear()
    async with open_engine(tmp_path, maker) as engine:
        only = asyncio.create_task(engine.create(pictures[0]))
        await wait_until(maker.started.is_set)
        only.cancel()
        await asyncio.wait([only])
        maker.may_run.set()
        await wait_until(lambda: engine.stats.num_encoded == 1)
        assert (await engine.create(pictures[0])).from_cache


async def test_failure_reaches_all_waiters_and_is_not_remembered(
    maker, pictures, tmp_path: Path
) -> None:
    maker.error = PortraitRejected("no face", reason="NO_FACE")
    async with open_engine(tmp_path, maker) as engine:
        results = await asyncio.gather(
            *(engine.create(pictures[0]) for _ in range(3)), return_exceptions=True
        )
        assert [getattr(result, "reason", "") for result in results] == ["NO_FACE"] * 3
        maker.error = None
        assert (await engine.create(pictures[0])).key
        assert (await engine.list())[1] == ""


async def test_bad_picture_is_refused_without_the_model(maker, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        with pytest.raises(PortraitRejected):
            await engine.create(b"not a picture")
    assert maker.num_calls == 0


async def test_bad_name_is_refused_without_the_model(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        with pytest.raises(InvalidInput):
            await engine.create(pictures[0], name="../x")
    assert maker.num_calls == 0


async def test_load_beyond_the_bound_is_refused(maker, pictures, tmp_path: Path) -> None:
    maker.may_run.clear()
    async with open_engine(tmp_path, maker, max_pending=2) as engine:
        waiting = [asyncio.create_task(engine.create(picture)) for picture in pictures[:2]]
        await wait_until(lambda: len(engine._flights) == 2)
        with pytest.raises(Overloaded) as caught:
            await engine.create(pictures[2])
        assert caught.value.retry_after_ms is not None
        assert caught.value.retry_after_ms > 0
        maker.may_run.set()
        await asyncio.gather(*waiting)
        assert (await engine.create(pictures[2])).key
        assert engine.stats.num_refused == 1


async def test_known_portrait_does_not_wait_for_an_encode(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        known = await engine.create(pictures[0])
        maker.may_run.clear()
        slow = asyncio.create_task(engine.create(pictures[1]))
        await wait_until(lambda: maker.num_calls == 2)
        assert (await engine.create(pictures[0])).from_cache
        assert (await engine.get(known.name)).key == known.key
        assert not slow.done()
        maker.may_run.set()
        await slow


async def test_everything_survives_a_restart(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        info = await engine.create(pictures[0], name="anna")
    async with open_engine(tmp_path, maker) as engine:
        assert await engine.get("anna") == info
        assert (await engine.latents(info.key)).tensors["image"].shape == (1000,)
        assert (await engine.create(pictures[0])).from_cache
    assert maker.num_calls == 1


async def test_damaged_latents_are_made_again(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        info = await engine.create(pictures[0], name="anna")
    (tmp_path / "latents" / f"{info.key}.avatar").write_bytes(b"PARLAVA1 rubbish")
    async with open_engine(tmp_path, maker) as engine:
        with pytest.raises(NotFound):
            await engine.latents(info.key)
        assert not (await engine.create(pictures[0], name="anna")).from_cache
        assert (await engine.latents(info.key)).key == info.key
    assert maker.num_calls == 2


async def test_latents_beyond_the_memory_come_from_disk(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker, memory_bytes=2500) as engine:
        infos = [await engine.create(picture) for picture in pictures[:5]]
        for info in infos:
            assert (await engine.latents(info.key)).key == info.key
        assert engine.stats.num_disk_hits >= 3
    assert maker.num_calls == 5


async def test_name_of_another_portrait_is_refused(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        await engine.create(pictures[0], name="anna")
        again = await engine.create(pictures[0], name="anna")
        assert again.from_cache
        with pytest.raises(AlreadyExists):
            await engine.create(pictures[1], name="anna")


async def test_one_of_two_rivals_gets_the_name(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        results = await asyncio.gather(
            *(engine.create(picture, name="anna") for picture in pictures[:4]),
            return_exceptions=True,
        )
        winners = [result for result in results if not isinstance(result, BaseException)]
        assert len(winners) == 1
        assert (await engine.get("anna")).key == winners[0].key
        assert sum(isinstance(result, AlreadyExists) for result in results) == 3


async def test_latents_go_with_their_last_name(maker, pictures, tmp_path: Path) -> None:
    async with open_engine(tmp_path, maker) as engine:
        info = await engine.create(pictures[0], name="anna")
        await engine.create(pictures[0], name="bea")
        await engine.delete("anna")
        assert (await engine.latents(info.key)).key == info.key
        await engine.delete("bea")
        with pytest.raises(NotFound):
            await engine.latents(info.key)
        with pytest.raises(NotFound):
            await engine.delete("bea")


@pytest.mark.parametrize("key", ["", "0" * 64, "../../etc/passwd", "x" * 10_000])
async def test_unknown_latents_are_not_found(maker, tmp_path: Path, key: str) -> None:
    async with open_engine(tmp_path, maker) as engine:
        with pytest.raises(NotFound) as caught:
            await engine.latents(key)
        assert len(caught.value.message) < 300


async def test_closing_ends_what_waits(maker, pictures, tmp_path: Path) -> None:
    maker.may_run.clear()
    async with open_engine(tmp_path, maker) as engine:
        tasks = [asyncio.create_task(engine.create(picture)) for picture in pictures[:3]]
        await wait_until(maker.started.is_set)
        closing = asyncio.create_task(engine.aclose())
        await asyncio.sleep(0.02)
        maker.may_run.set()
        await closing
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        with pytest.raises(Unavailable):
            await engine.create(pictures[0])


async def test_missing_tracker_is_told_at_warm_up(
    astronaut: Uint8Array, png, tmp_path: Path
) -> None:
    async with EncoderEngine.open(tmp_path, tracker_dir=tmp_path / "none") as engine:
        with pytest.raises(FailedPrecondition, match="make setup"):
            await engine.warm_up()
        with pytest.raises(FailedPrecondition):
            await engine.create(png(astronaut))


async def test_known_portraits_need_no_tracker(
    maker, pictures, astronaut: Uint8Array, png, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.encoder.engine.bundle_digest", lambda: DIGEST)
    async with open_engine(tmp_path / "store", maker) as engine:
        info = await engine.create(pictures[0], name="known")
    # Neither its files nor the library that runs its networks.
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    none = tmp_path / "none"
    async with EncoderEngine.open(tmp_path / "store", tracker_dir=none, preload=False) as engine:
        await engine.warm_up()
        assert (await engine.get("known")).key == info.key
        assert (await engine.latents(info.key)).key == info.key
        assert (await engine.create(pictures[0], name="known")).from_cache
        with pytest.raises(FailedPrecondition, match="make setup"):
            await engine.create(png(astronaut))


@pytest.mark.usefixtures("tracker")
async def test_real_portrait_is_encoded_without_blocking_the_loop(
    astronaut: Uint8Array, png, tmp_path: Path
) -> None:
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, loop.time() - before)

    async with EncoderEngine.open(tmp_path) as engine:
        await engine.warm_up()
        watcher = asyncio.create_task(watch())
        info = await engine.create(png(astronaut))
        watcher.cancel()
        latents = await engine.latents(info.key)
    assert latents.num_bytes == info.latent_bytes
    assert {spec.name: spec.shape for spec in latents.spec.tensors} == {
        name: np.shape(tensor) for name, tensor in latents.tensors.items()
    }
    assert longest_s < 0.25
