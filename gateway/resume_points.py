"""When a session can go on elsewhere, and how one that comes from elsewhere begins."""

from __future__ import annotations

from typing import Final

from gateway.pipeline import Pipeline
from gateway.resume import ResumeSealer, SessionSnapshot
from gateway.timeline import Timeline, frame_start_sample
from gateway.values import PlayedAudio, ResumePoint, ResumeRequest, SessionSettings
from parlante import telemetry
from parlante.clock import Clock
from parlante.errors import FailedPrecondition, InvalidInput, Unavailable

__all__ = ["ResumePoints", "leaving_error", "open_token"]

INTERVAL_MS: Final = 500
# Media time that a session may have been away and is made up for; the rest is a pause.
MAX_CATCH_UP_US: Final = 2_000_000
MAX_OVERLAP_MS: Final = 1_000
_REPLAY_TIMEOUT_US: Final = 2_000_000
_LOOK_INTERVAL_US: Final = 2_000
_RETRY_AFTER_MS: Final = 100


class ResumePoints:
    """Makes the resume points of one session.

    Args:
        sealer: None makes none.
        session_id: Of the session.
        settings: Of the session.
        timeline: Of the session.
        pipeline: Of the session.
        resumed: The state that the session goes on from; None for a new one.
        request: How its client goes on with it.
    """

    def __init__(
        self,
        sealer: ResumeSealer | None,
        session_id: str,
        settings: SessionSettings,
        *,
        timeline: Timeline,
        pipeline: Pipeline,
        resumed: SessionSnapshot | None,
        request: ResumeRequest | None,
    ) -> None:
        self._sealer = sealer
        self._avatar_key = ""
        self._resumed = resumed
        self._request = request
        self._session_id = session_id
        self._settings = settings
        self._timeline = timeline
        self._pipeline = pipeline
        self._num_messages = resumed.num_messages if resumed else 0
        self._num_repeated = request.num_repeated if request else 0
        self._num_awaited = request.num_replayed if request else 0
        self._num_came = 0
        self._next_sample = 0

    @property
    def is_on(self) -> bool:
        """True when the session makes points."""
        return self._sealer is not None

    def begin(self, avatar_key: str) -> None:
        """Note the avatar, before the first point; raises `FailedPrecondition` for another one."""
        if self._resumed is not None and self._resumed.avatar_key != avatar_key:
            raise state_mismatch("avatar")
        self._avatar_key = avatar_key

    @property
    def elapsed_us(self) -> int:
        """Media time that has passed at the start; the time a resumed session was away counts."""
        if self._request is None:
            return 0
        position_us = self._timeline.offset_us(self._timeline.position_sample)
        return position_us + min(self._request.elapsed_us, MAX_CATCH_UP_US)

    @property
    def first_sample(self) -> int:
        """Where the session's outputs begin; before it they come from the gateway it was at."""
        if self._request is None:
            return 0
        rate_hz = self._settings.sample_rate_hz
        wanted = frame_start_sample(self._request.next_frame, rate_hz)
        return min(wanted, self._timeline.position_sample + rate_hz * MAX_OVERLAP_MS // 1000)

    def wants_audio(self, audio: PlayedAudio) -> bool:
        """Tell whether audio is returned that the client has not got from another gateway."""
        since = self._request.next_audio_sample if self._request else 0
        return self._settings.return_audio and audio.start_sample >= since

    def message_came(self) -> None:
        """Count a message of the client that takes effect now."""
        self._num_came += 1
        self._num_messages += self._num_came > self._num_repeated

    async def wait_for_replay(self, clock: Clock) -> None:
        """Wait until the client has sent again what it has to, but not for ever."""
        deadline_us = clock.monotonic_us() + _REPLAY_TIMEOUT_US
        while self._num_came < self._num_awaited and clock.monotonic_us() < deadline_us:
            await clock.sleep_until_us(clock.monotonic_us() + _LOOK_INTERVAL_US)

    def make(self, *, force: bool, go_away: bool = False) -> ResumePoint | None:
        """Make a point if one is due, or anyway with `force`; None before the first checkpoint.

        To be called between two steps of the media clock: what has been committed has also gone to
        the motion stream then.
        """
        log, position = self._pipeline.motion_log, self._timeline.position_sample
        if self._sealer is None or log.next_frame is None or not log.config.resume_state:
            return None
        if position < self._next_sample and not force:
            return None
        self._next_sample = position + self._settings.sample_rate_hz * INTERVAL_MS // 1000
        timeline = self._timeline.snapshot
        snapshot = SessionSnapshot(
            session_id=self._session_id,
            avatar_key=self._avatar_key,
            sample_rate_hz=self._settings.sample_rate_hz,
            seed=self._settings.seed,
            delay_budget_ms=self._settings.delay_budget_ms,
            timeline=timeline,
            num_messages=self._num_messages,
            checkpoint=log.config.resume_state,
            checkpoint_sample=log.checkpoint_sample,
            next_frame=log.next_frame,
            controls=log.config.controls,
            pending=tuple(log.replay()),
            frame_utterances=dict(self._pipeline.frame_utterances),
            num_dropped=self._pipeline.num_dropped,
        )
        return ResumePoint(
            token=self._sealer.seal(snapshot),
            media_offset_us=self._timeline.offset_us(position),
            audio_sample=timeline.audio_sample,
            num_messages=self._num_messages,
            go_away=go_away,
        )


def open_token(
    settings: SessionSettings, sealer: ResumeSealer | None, request: ResumeRequest
) -> SessionSnapshot:
    """Read the state that a session goes on from.

    Raises:
        InvalidInput: BAD_RESUME_TOKEN.
        FailedPrecondition: RESUME_EXPIRED, or RESUME_STATE_MISMATCH for another configuration.
    """
    if sealer is None or not settings.resumable:
        raise InvalidInput(
            "a session can go on in PACING_LIVE, with resumable set, at a gateway that has a "
            "resume key; begin a new session",
            reason="BAD_RESUME_TOKEN",
            field="config.resume",
        )
    snapshot = sealer.open(request.token)
    for name in ("sample_rate_hz", "seed", "delay_budget_ms"):
        if getattr(snapshot, name) != getattr(settings, name):
            raise state_mismatch(name)
    telemetry.metrics().sessions_resumed.add(1)
    return snapshot


def state_mismatch(name: str) -> FailedPrecondition:
    """Make the error of a configuration that is not the session's."""
    return FailedPrecondition(
        f"a session goes on with the configuration that session_started echoed; {name} differs; "
        "begin a new session",
        reason="RESUME_STATE_MISMATCH",
        field=f"config.{name}",
    )


def leaving_error() -> Unavailable:
    """Make the error that ends a session which is to go on elsewhere."""
    return Unavailable(
        "the server stops; go on at another gateway with the last resume point",
        reason="DRAINING",
        retry_after_ms=_RETRY_AFTER_MS,
    )
