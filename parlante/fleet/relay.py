"""One stream over many replicas: when the one that serves it is lost, the next goes on.

A relay keeps what the next replica would have to be told (a `Log`), and moves the stream when its
replica is out of reach, gives it back, or owes an output for too long. Whoever reads the stream
sees outputs without a gap and none twice; only their times tell that something happened. A replica
that gives notice goes on until the next one has a slot and is ready (`Successor`); then the stream
moves between two outputs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from parlante import telemetry
from parlante.aio import Channel, ChannelClosed, cancel_and_wait, closing
from parlante.errors import InternalError, Overloaded, ParlanteError, Unavailable
from parlante.fleet.pool import ReplicaPool
from parlante.fleet.replica import Lease, Replica
from parlante.fleet.successor import Successor, Warm

__all__ = ["Log", "OpenStream", "Patience", "Relay"]

logger = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")
LogIn = TypeVar("LogIn")
LogOut = TypeVar("LogOut")

HANDED_OVER: Final = "HANDED_OVER"
LATE: Final = "LATE"
_LOOK_INTERVAL_S: Final = 0.05
_MAX_AHEAD: Final = 4  # inputs that are taken before a replica wants them
_MAX_MOVES: Final = 8  # within the window; a stream that fails everywhere must end
_MOVES_WINDOW_S: Final = 20.0
_SEARCH_INTERVAL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a relay waits.

    Attributes:
        late_s: An output that is owed for so long moves the stream, if there is somewhere to go.
        first_s: The same for the first output of a replica, which has things to make ready.
        search_s: Time to find another replica before the stream fails. With the time in which a
            loss is noticed (`parlante.fleet.pool`) it stays below the lag that a live session
            bears: the session must end for want of the stage, which its client takes elsewhere,
            and not because motion is late.
    """

    late_s: float = 0.5
    first_s: float = 5.0
    search_s: float = 3.0


class Log(Protocol[LogIn, LogOut]):
    """What was sent and is not answered for good yet."""

    def append(self, item: LogIn) -> LogIn:
        """Note an input; gives what the replica is told."""
        ...

    def replay(self) -> list[LogIn]:
        """Give what the next replica is told before anything new."""
        ...

    def accept(self, output: LogOut) -> LogOut | None:
        """Take an output; gives what of it is new, None if nothing is."""
        ...

    @property
    def is_owed(self) -> bool:
        """True when the replica has all it needs for another output."""
        ...

    def give_up_state(self, error: ParlanteError) -> bool:
        """Go on without the state that a replica refused; False when that is not the matter."""
        ...


# Opens a stream at a replica: replica, lease id, inputs, what it calls when the replica gives
# notice -> outputs.
OpenStream = Callable[[Replica, str, AsyncIterator[In], Callable[[], None]], AsyncIterator[Out]]


class Relay(Generic[In, Out]):
    """Runs one stream.

    Args:
        pool: The replicas.
        log: Empty, or with the state of a stream to resume.
        open_stream: Opens the stream at a replica.
        key: Placement's key; "" if any replica will do.
        lease: Slot for the beginning; None acquires one.
        patience: How long to wait.
        warm: Makes the stream's things ready at a replica that gets it soon; None: there are none.
    """

    def __init__(
        self,
        pool: ReplicaPool,
        log: Log[In, Out],
        open_stream: OpenStream[In, Out],
        *,
        key: str = "",
        lease: Lease | None = None,
        patience: Patience | None = None,
        warm: Warm | None = None,
    ) -> None:
        self._pool = pool
        self._successor = Successor(pool, key, warm)
        self._log = log
        self._open_stream = open_stream
        self._key = key
        self._lease = lease
        self._patience = patience or Patience()
        self._feed: Channel[In] = Channel(_MAX_AHEAD)
        self._input_error: Exception | None = None
        self._moves: deque[float] = deque()
        self._num_late = 0
        self._owed_since_s: float | None = None
        self._lost_s: float | None = None
        self._has_output = False

    async def run(self, inputs: AsyncIterator[In]) -> AsyncIterator[Out]:
        """Give the outputs for `inputs`, which is closed in the end."""
        pump = asyncio.create_task(self._pump(inputs), name=f"{self._pool.stage}-relay")
        try:
            lease = self._lease or await self._pool.acquire(self._key)
            while True:
                try:
                    async with self._claiming(lease), closing(self._attempt(lease)) as outputs:
                        async for output in outputs:
                            fresh = self._accept(output)
                            if fresh is not None:
                                yield fresh
                            if self._successor.is_ready and not self._has_moved_often:
                                raise _ready_elsewhere()
                    return
                except ParlanteError as error:
                    lease = await self._move(lease, error)
        finally:
            await cancel_and_wait(pump)
            await self._successor.aclose()

    async def _pump(self, inputs: AsyncIterator[In]) -> None:
        """Take inputs in a task of its own: a stream that is lost must not cancel them."""
        try:
            async with closing(inputs) as items:
                async for item in items:
                    await self._feed.put(item)
        except ChannelClosed:
            return
        except Exception as error:  # raised again where the stream is read
            self._input_error = error
        finally:
            self._feed.close()

    async def _requests(self) -> AsyncIterator[In]:
        for item in self._log.replay():
            yield item
        async for item in self._feed:
            told = self._log.append(item)
            self._note_owed(time.monotonic())
            yield told
        if self._input_error is not None:
            raise self._input_error

    @asynccontextmanager
    async def _claiming(self, lease: Lease) -> AsyncIterator[None]:
        """Give the lease back in the end if no stream came of it; one that did has claimed it."""
        self._has_output = False
        try:
            yield
        finally:
            if not self._has_output:
                lease.give_back()

    async def _attempt(self, lease: Lease) -> AsyncIterator[Out]:
        self._owed_since_s = time.monotonic()
        requests = self._requests()
        outputs = self._open_stream(
            lease.replica, lease.lease_id, requests, lambda: self._successor.seek(lease)
        )
        async with closing(requests), closing(outputs) as source:
            while True:
                following = asyncio.ensure_future(_next(source))
                try:
                    while not (await asyncio.wait((following,), timeout=_LOOK_INTERVAL_S))[0]:
                        self._check_late(lease)
                    yield following.result()
                except _EndOfItems:
                    return
                finally:
                    await cancel_and_wait(following)

    def _accept(self, output: Out) -> Out | None:
        now_s = time.monotonic()
        self._has_output = True
        fresh = self._log.accept(output)
        self._owed_since_s = None
        self._note_owed(now_s)
        if fresh is not None and self._lost_s is not None:
            attributes = {telemetry.ATTRIBUTE_STAGE: self._pool.stage}
            telemetry.metrics().failover_gap.record(now_s - self._lost_s, attributes)
            self._lost_s = None
        return fresh

    def _note_owed(self, now_s: float) -> None:
        if self._owed_since_s is None and self._log.is_owed:
            self._owed_since_s = now_s

    def _check_late(self, lease: Lease) -> None:
        """Raise when an output is owed for too long and another replica has room."""
        if self._owed_since_s is None or not self._log.is_owed:
            return
        patience = self._patience.late_s if self._has_output else self._patience.first_s
        # Whoever is late everywhere is not helped by running around.
        if time.monotonic() - self._owed_since_s < patience * 2**self._num_late:
            return
        others = self._pool.ordered(self._key, exclude=(lease.replica,))
        if others and others[0].as_candidate("").has_room:
            self._num_late += 1
            raise Unavailable(
                f"the {self._pool.stage} stage owes an output for more than {patience:g} s",
                reason=LATE,
            )

    async def _move(self, lease: Lease, error: ParlanteError) -> Lease:
        """Find the next replica after `error`, or raise it."""
        if error is self._input_error or not (_is_loss(error) or self._log.give_up_state(error)):
            raise error
        if self._has_moved_often:
            raise error
        now_s = time.monotonic()
        self._moves.append(now_s)
        self._lost_s = self._lost_s or now_s
        if error.reason != HANDED_OVER and _is_loss(error):
            lease.replica.suspect()
        attributes = {
            telemetry.ATTRIBUTE_STAGE: self._pool.stage,
            telemetry.ATTRIBUTE_REASON: error.reason,
        }
        telemetry.metrics().failovers.add(1, attributes)
        found = await self._successor.take() or await self._search(lease, error)
        extra: dict[str, Any] = {
            "stage": self._pool.stage,
            "reason": error.reason,
            "from_replica": lease.replica.endpoint.address,
            "to_replica": found.replica.endpoint.address,
            "search_ms": round((time.monotonic() - now_s) * 1000),
        }
        logger.warning("stream moved to another replica", extra=extra)
        return found

    @property
    def _has_moved_often(self) -> bool:
        """True when one more move within the window would be too many."""
        since_s = time.monotonic() - _MOVES_WINDOW_S
        while self._moves and self._moves[0] < since_s:
            self._moves.popleft()
        return len(self._moves) >= _MAX_MOVES

    async def _search(self, lease: Lease, error: ParlanteError) -> Lease:
        started_s = time.monotonic()
        while True:
            waited_s = time.monotonic() - started_s
            # The same one again may have been started anew.
            exclude = (lease.replica,) if waited_s < self._patience.search_s / 4 else ()
            try:
                return await self._pool.acquire(self._key, exclude, patience_s=0.0)
            except (Overloaded, Unavailable) as refusal:
                if waited_s >= self._patience.search_s:
                    raise refusal from error
            await asyncio.sleep(_SEARCH_INTERVAL_S)


def _ready_elsewhere() -> Unavailable:
    return Unavailable(
        "the replica gives its streams away, and another one is ready", reason=HANDED_OVER
    )


def _is_loss(error: ParlanteError) -> bool:
    """Tell whether a stream may go on elsewhere after an error.

    A process that dies in the middle of a message makes INTERNAL of it; an INTERNAL that a stage
    raised itself names an error id, and would be raised again.
    """
    if isinstance(error, InternalError):
        return error.reason == InternalError.default_reason and "error_id" not in error.metadata
    return isinstance(error, Unavailable | Overloaded)


class _EndOfItems(Exception):
    """The outputs are over; a task cannot carry StopAsyncIteration."""


async def _next(items: AsyncIterator[Out]) -> Out:
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise _EndOfItems from None
