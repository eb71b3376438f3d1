"""One conversation: audio and controls in, frames, audio, motion and events out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final

from parlante.aio import Channel, ChannelClosed, cancel_and_wait
from parlante.client.line import Line
from parlante.client.link import OpenCall
from parlante.client.messages import (
    Frame,
    Pacing,
    SessionInfo,
    SessionItem,
    as_samples,
)
from parlante.convert import controls_to_proto
from parlante.errors import (
    FailedPrecondition,
    InvalidInput,
    ParlanteError,
    Unavailable,
)
from parlante.types import Controls, Int16Array
from parlante.v1 import gateway_pb2

__all__ = ["Session"]

# 40 ms is a frame; longer messages would delay the first frame, shorter ones only cost calls.
_MESSAGE_MS: Final = 40
_BURST_MESSAGE_MS: Final = 500
_INBOX_CAPACITY: Final = 32  # raw frames have 1 MB
# The server stops reading at its limit, reports included; the client stays well below it.
_AHEAD_SHARE: Final = 0.5
_STATUS_TIMEOUT_S: Final = 2.0


class Session:
    """A conversation; made by `ParlanteClient.converse` and used as an async context manager.

    Sending and receiving are independent: send from one task and iterate in another. Iterating
    gives `Frame`, `Audio`, `MotionSample` and `Event` in the order of the server, reports what was
    taken (which frees the server's credits) and ends when the session has ended. While somebody
    iterates the session does not end for want of messages. Leaving the context cancels what still
    runs.

    A resumable session that loses its server goes on at another one by itself: its clock, its
    frames' numbers and its utterances go on, and nothing comes twice.

    Attributes:
        info: What the server made of the configuration; set on entering the context.
    """

    info: SessionInfo

    def __init__(
        self,
        open_call: OpenCall,
        config: gateway_pb2.SessionConfig,
        *,
        pacing: Pacing,
        start_timeout_s: float,
    ) -> None:
        self._line = Line(open_call, config)
        self._pacing = pacing
        self._start_timeout_s = start_timeout_s
        self._is_finished = False
        self._error: ParlanteError | None = None
        self._last_taken: Frame | None = None
        self._inbox: Channel[SessionItem] = Channel(_INBOX_CAPACITY)
        self._pump: asyncio.Task[None] | None = None
        self._start_sample = 0
        self._audio_end_s = 0.0
        self._num_interrupts = 0
        self._interrupted_id = ""
        self._send_lock = asyncio.Lock()

    async def __aenter__(self) -> Session:
        try:
            await self._line.start(timeout_s=self._start_timeout_s)
        except BaseException:
            await self._line.aclose()
            raise
        self.info = self._line.info
        self._pump = asyncio.create_task(self._pump_answers())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def num_resumed(self) -> int:
        """How often the session went on at another server."""
        return self._line.num_resumed

    # --- sending -------------------------------------------------------------------------------

    async def send_audio(self, samples: Int16Array | bytes, *, utterance_id: str = "") -> None:
        """Send speech; long pieces are split, and sending waits rather than run too far ahead.

        An `interrupt` meanwhile ends it early: what was not sent is dropped, as on the server.

        Args:
            samples: int16 [S] at the session's rate, or the same as little-endian bytes.
            utterance_id: A new id begins a new utterance; "" goes on with the current one.

        Raises:
            InvalidInput: Not 16-bit samples.
            ParlanteError: The session has ended; the error says why.
        """
        values = as_samples(samples)
        rate_hz = self.info.sample_rate_hz
        message_ms = _MESSAGE_MS if self._pacing is Pacing.LIVE else _BURST_MESSAGE_MS
        step = rate_hz * message_ms // 1000
        async with self._send_lock:  # audio of two tasks must not get mixed up
            num_interrupts = self._num_interrupts
            for offset in range(0, len(values), step):
                piece = values[offset : offset + step]
                await self._wait_for_room(len(piece) / rate_hz)
                if self._num_interrupts != num_interrupts and self._concerns(utterance_id):
                    return
                await self._put(
                    gateway_pb2.ConverseRequest(
                        audio=gateway_pb2.AudioInput(
                            start_sample=self._start_sample,
                            data=piece.astype("<i2", copy=False).tobytes(),
                            utterance_id=utterance_id,
                        )
                    )
                )
                self._start_sample += len(piece)

    async def send_listening(self, samples: Int16Array | bytes) -> None:
        """Let the avatar hear its user, so that it attends and nods; live pacing only.

        Send the microphone as it comes, 20 to 40 ms at a time: a piece is taken to be heard when it
        arrives, and what comes faster than time is dropped there.

        Args:
            samples: int16 [S] at the session's rate, at most 1 s, or the same as little-endian
                bytes.

        Raises:
            InvalidInput: Not 16-bit samples, or more than a second.
            FailedPrecondition: The session is a burst.
            ParlanteError: The session has ended; the error says why.
        """
        values = as_samples(samples)
        if self._pacing is not Pacing.LIVE:
            raise FailedPrecondition(
                "an avatar listens in live pacing only; open a session with Pacing.LIVE",
                reason="LISTENING_NEEDS_LIVE",
            )
        if len(values) > self.info.sample_rate_hz:
            raise InvalidInput(
                f"listening audio has at most 1 s, {self.info.sample_rate_hz} samples; "
                f"got {len(values)}; send it as it is heard, 20 to 40 ms at a time",
                reason="AUDIO_TOO_LARGE",
                field="samples",
            )
        if len(values):
            data = values.astype("<i2", copy=False).tobytes()
            message = gateway_pb2.ListeningInput(data=data)
            await self._put(gateway_pb2.ConverseRequest(listening=message))

    async def end_utterance(self, utterance_id: str = "") -> None:
        """Say that the utterance is complete; the avatar finishes it and rests."""
        message = gateway_pb2.EndOfUtterance(utterance_id=utterance_id)
        await self._put(gateway_pb2.ConverseRequest(end_of_utterance=message))

    async def update(self, controls: Controls, *, apply_offset_us: int = 0) -> None:
        """Replace all controls, now or at a time on the media clock (microseconds)."""
        message = gateway_pb2.ControlUpdate(
            controls=controls_to_proto(controls), apply_offset_us=apply_offset_us
        )
        await self._put(gateway_pb2.ConverseRequest(control=message))

    async def interrupt(self, utterance_id: str = "") -> None:
        """Stop speaking now; an INTERRUPTED event and a finished utterance follow."""
        self._audio_end_s = 0.0
        self._num_interrupts += 1
        self._interrupted_id = utterance_id
        message = gateway_pb2.Interrupt(utterance_id=utterance_id)
        await self._put(gateway_pb2.ConverseRequest(interrupt=message))

    async def finish(self) -> None:
        """Send nothing more; iterating ends once all audio has been played. Idempotent."""
        self._is_finished = True
        self._line.finish()

    # --- receiving -----------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[SessionItem]:
        return self

    async def __anext__(self) -> SessionItem:
        self._report_taken()
        self._line.is_awaited = True
        try:
            item = await self._inbox.get()
        except StopAsyncIteration:
            if self._error is not None:
                raise self._error from None
            raise
        finally:
            self._line.is_awaited = False
        self._last_taken = item if isinstance(item, Frame) else None
        return item

    async def aclose(self) -> None:
        """End the session at once and free what it holds. Idempotent."""
        self._inbox.close()
        if self._pump is not None:
            await cancel_and_wait(self._pump)
        await self._line.aclose()

    # --- inside --------------------------------------------------------------------------------

    async def _pump_answers(self) -> None:
        """Move answers from the call to the inbox.

        The status of a call comes only after its last message has been read, so someone must read
        all the time, or a sender would never learn why the server has gone.
        """
        try:
            while (item := await self._line.read()) is not None:
                await self._inbox.put(item)
        except ParlanteError as error:
            self._error = error
        except ChannelClosed:
            return
        finally:
            self._inbox.close()
            await self._line.aclose()

    def _report_taken(self) -> None:
        """Free the credit of the last frame: whoever asks for the next item is done with it."""
        frame, self._last_taken = self._last_taken, None
        if frame is not None:
            self._line.report(frame)

    async def _put(self, request: gateway_pb2.ConverseRequest) -> None:
        if self._is_finished:
            raise await self._reason_of_end()
        if not await self._line.put(request):
            raise await self._reason_of_end()

    async def _reason_of_end(self) -> ParlanteError:
        """Say why nothing more can be sent; the pump learns it first."""
        if self._pump is not None:
            await asyncio.wait((self._pump,), timeout=_STATUS_TIMEOUT_S)
        return self._error or _ended()

    def _concerns(self, utterance_id: str) -> bool:
        """Tell whether the last interrupt was for this utterance; "" stands for any."""
        return not self._interrupted_id or self._interrupted_id == utterance_id

    async def _wait_for_room(self, duration_s: float) -> None:
        """Stay within the audio the server takes ahead of a clock that runs in real time."""
        if self._pacing is not Pacing.LIVE:
            return
        limit_s = self.info.max_audio_ahead_ms / 1000 * _AHEAD_SHARE
        now_s = time.monotonic()
        self._audio_end_s = max(self._audio_end_s, now_s) + duration_s
        if limit_s > 0 and self._audio_end_s - now_s > limit_s:
            await asyncio.sleep(self._audio_end_s - now_s - limit_s)


def _ended() -> ParlanteError:
    return Unavailable(
        "the session has ended or was finished; open a new one", reason="SESSION_ENDED"
    )
