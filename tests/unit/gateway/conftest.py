"""A session on a virtual clock with fakes, as seen by its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from gateway.limits import SessionLimits
from gateway.session import Session
from gateway.stages import Stages
from gateway.values import (
    Event,
    EventType,
    Frame,
    Motion,
    PlayedAudio,
    SessionInput,
    SessionOutput,
    SessionSettings,
    Speech,
    Started,
)
from parlante.aio import Channel, cancel_and_wait
from parlante.clock import VirtualClock
from tests.fakes.encoder import FakeEncoder, portrait_bytes
from tests.fakes.metrics import read_metrics
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer

T = TypeVar("T")


@dataclass(kw_only=True)
class Conversation:
    """The client's end of a session.

    Attributes:
        reading: While False nothing that the session sends gets through.
        got: What was sent, in order.
    """

    session: Session
    clock: VirtualClock
    task: asyncio.Task[None]
    inputs: Channel[SessionInput]
    got: list[SessionOutput]
    gate: asyncio.Event
    num_samples: int = 0
    rate_hz: int = 16_000
    motion: FakeMotion = field(default_factory=FakeMotion)
    renderer: FakeRenderer = field(default_factory=FakeRenderer)

    async def run_ms(self, duration_ms: int) -> None:
        """Let media time pass."""
        await self.clock.advance_us(duration_ms * 1000)

    async def say(self, duration_ms: int, utterance_id: str = "", *, value: int = 1000) -> None:
        """Send audio in pieces of 20 ms."""
        for _ in range(duration_ms // 20):
            samples = np.full(self.rate_hz // 50, value, np.int16)
            await self.send(
                Speech(start_sample=self.num_samples, samples=samples, utterance_id=utterance_id)
            )
            self.num_samples += len(samples)

    async def send(self, *messages: SessionInput) -> None:
        """Send messages."""
        for message in messages:
            await self.inputs.put(message)
        await self.clock.settle()

    async def half_close(self) -> None:
        """End the inputs."""
        self.inputs.close()
        await self.clock.settle()

    def stop_reading(self) -> None:
        """Let nothing through from now on."""
        self.gate.clear()

    async def start_reading(self) -> None:
        """Let everything through again."""
        self.gate.set()
        await self.clock.settle()

    def all_of(self, kind: type[T]) -> list[T]:
        """Give what came of one kind."""
        return [item for item in self.got if isinstance(item, kind)]

    @property
    def frames(self) -> list[Frame]:
        """Frames that came."""
        return self.all_of(Frame)

    def events(self, *types: EventType) -> list[tuple[EventType, int, str]]:
        """Events that came, of some types or all."""
        return [
            (event.type, event.media_offset_us // 1000, event.utterance_id)
            for event in self.all_of(Event)
            if not types or event.type in types
        ]

    def audio(self, utterance_id: str | None = None) -> np.ndarray[Any, Any]:
        """Audio that came back, joined; of one utterance or all."""
        parts = [
            item.samples
            for item in self.all_of(PlayedAudio)
            if utterance_id is None or item.utterance_id == utterance_id
        ]
        return np.concatenate([np.zeros(0, np.int16), *parts])

    def motions(self) -> list[Motion]:
        """Motion that came."""
        return self.all_of(Motion)

    @property
    def started(self) -> Started:
        """The first message."""
        (started,) = self.all_of(Started)
        return started

    async def error(self) -> BaseException:
        """Wait for the session to fail."""
        with pytest.raises(Exception) as failed:  # noqa: PT011 (the caller looks at it)
            await self.task
        return failed.value


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> InMemoryMetricReader:
    """Metrics that are counted here."""
    return read_metrics(monkeypatch)


Converse = Callable[..., Any]


@pytest.fixture
def converse() -> Converse:
    """Open conversations: ``async with converse(return_audio=True) as c``."""

    @asynccontextmanager
    async def opened(
        *,
        motion: FakeMotion | None = None,
        renderer: FakeRenderer | None = None,
        limits: SessionLimits | None = None,
        clock: VirtualClock | None = None,
        **settings: Any,
    ) -> AsyncIterator[Conversation]:
        motion, encoder = motion or FakeMotion(), FakeEncoder()
        renderer = renderer or FakeRenderer()
        clock = clock or VirtualClock()
        session = Session(
            SessionSettings(portrait=portrait_bytes(), **settings),
            Stages(encoder=encoder, motion=motion, renderer=renderer),
            clock=clock,
            limits=limits or SessionLimits(),
        )
        inputs: Channel[SessionInput] = Channel(100_000)
        got: list[SessionOutput] = []
        gate = asyncio.Event()
        gate.set()

        async def send(output: SessionOutput) -> None:
            await gate.wait()
            got.append(output)

        task = asyncio.create_task(session.run(inputs, send))
        conversation = Conversation(
            session=session,
            clock=clock,
            task=task,
            inputs=inputs,
            got=got,
            gate=gate,
            rate_hz=settings.get("sample_rate_hz", 16_000),
            motion=motion,
            renderer=renderer,
        )
        await clock.settle()
        try:
            yield conversation
        finally:
            await cancel_and_wait(task)
            assert (motion.num_open, renderer.num_open) == (0, 0)

    return opened
