"""Frames of all streams of a renderer share batches: who is next, who is late, what is retried.

Each stream has a queue. A batch takes the first frame of every stream, the most urgent stream
first, then the second of every one, and so on: no stream gets a second frame into a batch before
the others got their first. Frames without a deadline fill what those with one leave, until they
have waited for long. Nothing waits for a batch to fill: while servers are busy frames gather by
themselves.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from parlante.aio import cancel_and_wait
from parlante.errors import Expired, InternalError, Unavailable
from parlante.triton.faults import Fault, TritonFault
from parlante.triton.layout import (
    MAX_PIXEL_BYTES,
    FrameRow,
    RowResult,
    RowStatus,
    pack_backdrop,
    pack_latents,
)
from parlante.types import AvatarLatents, Uint8Array
from services.renderer.capacity import Struggle
from services.renderer.triton_instance import FrameServer, TritonInstance

__all__ = ["AvatarParts", "FrameQueue", "FrameScheduler"]

logger = logging.getLogger(__name__)

MAX_OUTAGE_S: Final = 30.0
READY_TIMEOUT_S: Final = 120.0
PREPARING_POLL_S: Final = 0.015
# So long frames without a deadline let all live ones go first.
PATIENCE_S: Final = 1.0
MAX_REFUSALS: Final = 3
_RETRY_AFTER_MS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AvatarParts:
    """What a server needs of an avatar before it can make frames of it.

    Attributes:
        latents: Of the avatar.
        backdrop: uint8 [S, S, 3], the picture behind the person, if its look has one.
        backdrop_key: Its content key; "" without one.
    """

    latents: AvatarLatents
    backdrop: Uint8Array | None = None
    backdrop_key: str = ""


@dataclass(eq=False, slots=True, kw_only=True)
class _Job:
    """One frame that somebody waits for."""

    queue: FrameQueue
    row: FrameRow
    parts: AvatarParts | None
    urgency_s: float
    can_wait: bool  # until `urgency_s`
    number: int
    result: asyncio.Future[RowResult]
    home: TritonInstance | None = None  # where its avatar is being prepared
    num_refusals: int = 0

    @property
    def wants_pixels(self) -> bool:
        return self.row.jpeg_quality == 0


@dataclass(eq=False, slots=True)
class FrameQueue:
    """Frames of one stream that wait for a server; from `FrameScheduler.open`."""

    jobs: deque[_Job] = field(default_factory=deque)


class FrameScheduler:
    """Sends frames of many streams to one or more servers.

    Args:
        servers: At least one; closed with the scheduler.
        max_outage_s: How long no server may work before frames fail as `Unavailable`.
    """

    def __init__(
        self, servers: Sequence[FrameServer], *, max_outage_s: float = MAX_OUTAGE_S
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._max_outage_s = max_outage_s
        self._instances = [TritonInstance(server, on_change=self._changed) for server in servers]
        self._queues: list[FrameQueue] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self._pump_is_due = False
        self._is_closed = False
        self._worked_s = self._loop.time()
        self._ready = asyncio.Event()
        self.struggle = Struggle(self._loop.time)
        self.num_batches = 0
        self.num_frames = 0

    @property
    def rate_hz(self) -> float:
        """Frames per second that the servers which work now can make."""
        return sum(item.meter.rate_hz for item in self._instances if item.is_healthy)

    async def start(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once a server works and its speed is known.

        Raises:
            Unavailable: TRITON_UNAVAILABLE, none came in time.
        """
        for instance in self._instances:
            instance.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise self._outage(timeout_s) from None

    async def aclose(self) -> None:
        """Fail what waits and close the servers."""
        self._is_closed = True
        for queue in tuple(self._queues):
            self.close(queue)
        await cancel_and_wait(*self._tasks)
        for instance in self._instances:
            await instance.aclose()

    def open(self) -> FrameQueue:
        """Begin a stream."""
        queue = FrameQueue()
        self._queues.append(queue)
        return queue

    def close(self, queue: FrameQueue) -> None:
        """End a stream; frames that still wait fail as `Unavailable`. More than once is fine."""
        if queue in self._queues:
            self._queues.remove(queue)
        for job in queue.jobs:
            _fail(job, Unavailable("the stream has ended"))
        queue.jobs.clear()

    async def decode(
        self,
        queue: FrameQueue,
        row: FrameRow,
        *,
        parts: AvatarParts | None,
        deadline_s: float | None = None,
    ) -> RowResult:
        """Have a frame made.

        Args:
            queue: Of its stream.
            row: What to make.
            parts: Of its avatar, for a server that has not got them.
            deadline_s: By the event loop's clock; None waits as long as it takes.

        Returns:
            The row's result; its status is never MISSING or PREPARING if parts were given.

        Raises:
            Expired: FRAME_LATE, the deadline passed.
            Unavailable: No server works, and has not for a while.
            InternalError: The servers refuse the call.
        """
        now_s = self._loop.time()
        self._check_outage(now_s)
        job = _Job(
            queue=queue,
            row=row,
            parts=parts,
            urgency_s=now_s + PATIENCE_S if deadline_s is None else deadline_s,
            can_wait=deadline_s is None,
            number=next(self._numbers),
            result=self._loop.create_future(),
        )
        if deadline_s is None:
            timer = self._loop.call_later(self._max_outage_s, self._look_after, job)
        else:
            timer = self._loop.call_at(deadline_s, self._expire, job)
        queue.jobs.append(job)
        self._changed()
        try:
            return await job.result
        finally:
            timer.cancel()
            if deadline_s is not None and not job.result.cancelled():
                self.struggle.note(late=isinstance(job.result.exception(), Expired))

    # --- time ---------------------------------------------------------------------------------

    def _expire(self, job: _Job) -> None:
        _fail(job, Expired("the frame came too late to be shown", reason="FRAME_LATE"))

    def _look_after(self, job: _Job) -> None:
        """End a frame without a deadline when no server works; else look again later."""
        if job.result.done():
            return
        try:
            self._check_outage(self._loop.time())
        except Unavailable as error:
            _fail(job, error)
        else:
            self._loop.call_later(1.0, self._look_after, job)

    def _check_outage(self, now_s: float) -> None:
        if self._is_closed:
            raise Unavailable("the renderer is shutting down; use another replica")
        if any(instance.is_healthy for instance in self._instances):
            self._worked_s = now_s
        elif now_s - self._worked_s > self._max_outage_s:
            raise self._outage(now_s - self._worked_s)

    def _outage(self, duration_s: float) -> Unavailable:
        where = ", ".join(instance.address for instance in self._instances)
        return Unavailable(
            f"no Triton server has made a frame for {duration_s:.0f} s (asked: {where}); "
            "try again later",
            reason="TRITON_UNAVAILABLE",
            retry_after_ms=_RETRY_AFTER_MS,
        )

    # --- batches ------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Form batches soon: what comes within one turn of the loop may share one."""
        if not self._pump_is_due and not self._is_closed:
            self._pump_is_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        if self._is_closed:
            return
        if any(instance.is_healthy for instance in self._instances):
            self._worked_s = self._loop.time()
            self._ready.set()
        free = [instance for instance in self._instances if instance.is_free]
        # The fastest first; each gets its share of what waits now.
        free.sort(key=lambda instance: -instance.meter.rate_hz)
        while free:
            instance = free.pop(0)
            share = -(-self._num_waiting() // (len(free) + 1))
            jobs = self._gather(instance, max(1, min(instance.row_limit, share)))
            if jobs:
                self._spawn(self._run(instance, jobs))
                # Once that is on its way, what is left may fill another: servers take several.
                self._changed()

    def _num_waiting(self) -> int:
        return sum(not job.result.done() for queue in self._queues for job in queue.jobs)

    def _gather(self, instance: TritonInstance, max_rows: int) -> list[_Job]:
        """Take the next rows for a server out of the queues; all want the same kind of picture."""
        taken: list[_Job] = []
        num_bytes = 0
        for job in self._in_turn(instance):
            if taken and job.wants_pixels is not taken[0].wants_pixels:
                continue
            num_bytes += job.row.num_pixel_bytes if job.wants_pixels else 0
            if taken and num_bytes > MAX_PIXEL_BYTES:
                break  # large frames; it is the first of the next batch
            taken.append(job)
            if len(taken) == max_rows:
                break
        for job in taken:
            job.queue.jobs.remove(job)
        return taken

    def _in_turn(self, instance: TritonInstance) -> Iterator[_Job]:
        """Give what waits: first what cannot wait any longer."""
        now_s = self._loop.time()
        urgent: list[list[_Job]] = []
        patient: list[list[_Job]] = []
        for queue in self._queues:
            while queue.jobs and queue.jobs[0].result.done():
                queue.jobs.popleft()
            own = [job for job in queue.jobs if not job.result.done() and _may_run(job, instance)]
            urgent.append([job for job in own if not job.can_wait or job.urgency_s <= now_s])
            patient.append([job for job in own if job.can_wait and job.urgency_s > now_s])
        yield from _round_by_round(urgent)
        yield from _round_by_round(patient)

    async def _run(self, instance: TritonInstance, jobs: list[_Job]) -> None:
        self.num_batches += 1
        self.num_frames += len(jobs)
        try:
            results = await instance.decode(
                [job.row for job in jobs], more_wait=lambda: self._num_waiting() > 0
            )
        except TritonFault as fault:
            self._give_back(jobs, fault)
        else:
            for job, result in zip(jobs, results, strict=True):
                self._settle(job, result, instance)
        finally:
            self._changed()

    def _settle(self, job: _Job, result: RowResult, instance: TritonInstance) -> None:
        if job.result.done():
            return
        match result.status:
            case RowStatus.AVATAR_MISSING if job.parts is not None:
                job.home = instance
                latents = job.parts.latents
                self._spawn(self._upload(job, latents.key, partial(pack_latents, latents)))
            case RowStatus.BACKDROP_MISSING if job.parts and job.parts.backdrop is not None:
                job.home = instance
                pack = partial(pack_backdrop, job.parts.backdrop)
                self._spawn(self._upload(job, job.parts.backdrop_key, pack))
            case RowStatus.AVATAR_PREPARING:
                job.home = instance
                self._loop.call_later(PREPARING_POLL_S, self._requeue, [job])
            case _:
                job.result.set_result(result)

    async def _upload(self, job: _Job, key: str, pack: Callable[[], Uint8Array]) -> None:
        assert job.home is not None
        try:
            await job.home.store(key, pack)
        except TritonFault as fault:
            self._give_back([job], fault)
        else:
            self._requeue([job])

    def _give_back(self, jobs: list[_Job], fault: TritonFault) -> None:
        """Let frames of a failed call be made elsewhere, or by the same server once it works."""
        for job in jobs:
            job.home = None
            if fault.kind is Fault.REFUSED:
                job.num_refusals += 1
                if job.num_refusals >= MAX_REFUSALS:
                    logger.error("the server refuses a call", extra={"reason": str(fault)[:300]})
                    _fail(job, InternalError("the Triton server refuses the call",
                                             reason="TRITON_REFUSED"))  # fmt: skip
        self._requeue(jobs)

    def _requeue(self, jobs: list[_Job]) -> None:
        """Put frames back into their streams, in the order they came."""
        for job in jobs:
            if job.result.done():
                continue
            if job.queue not in self._queues:
                _fail(job, Unavailable("the stream has ended"))
                continue
            waiting = sorted([job, *job.queue.jobs], key=lambda other: other.number)
            job.queue.jobs = deque(waiting)
        self._changed()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _round_by_round(streams: Sequence[Sequence[_Job]]) -> Iterator[_Job]:
    """Give the first of every stream, the most urgent one first, then the second of every one."""
    for turn in range(max(map(len, streams), default=0)):
        heads = [own[turn] for own in streams if turn < len(own)]
        yield from sorted(heads, key=lambda job: job.urgency_s)


def _may_run(job: _Job, instance: TritonInstance) -> bool:
    return job.home is None or job.home is instance or not job.home.is_healthy


def _fail(job: _Job, error: Exception) -> None:
    if not job.result.done():
        job.result.set_exception(error)
