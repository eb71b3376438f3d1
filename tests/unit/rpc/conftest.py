"""Stages over real gRPC with fakes behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.fakes.stages import FakeStages, serve_fakes


@pytest_asyncio.fixture
async def stages() -> AsyncIterator[FakeStages]:
    """One server with the three stage services over fakes, and a channel to it."""
    async with serve_fakes() as served:
        yield served
