"""What a renderer on Triton cannot show, it refuses before a frame is asked for."""

from __future__ import annotations

import pytest

from parlante.errors import Unsupported
from parlante.models.decoder import mean_face_latents
from parlante.models.frame_look import FrameLook
from parlante.types import BackgroundKind
from services.renderer.triton_decoder import TritonDecoder
from services.renderer.worker_pool import WorkerPool
from tests.fakes.triton import FakeTritonServer


@pytest.mark.parametrize(
    "look", [FrameLook(size_px=768), FrameLook(background=BackgroundKind.BLURRED)]
)
async def test_other_sizes_and_backgrounds_are_refused(look: FrameLook) -> None:
    pool = WorkerPool(1)
    decoder = TritonDecoder([FakeTritonServer()], pool)
    try:
        with pytest.raises(Unsupported) as caught:
            await decoder.prepare(mean_face_latents(), look)
        assert caught.value.reason == "LOOK_NOT_ON_TRITON"
        assert "inprocess" in caught.value.message
    finally:
        await decoder.aclose()
        await pool.aclose()
