"""A session at one moment, sealed so that any gateway with the same key can go on with it.

The token holds the state itself, not a reference: gateways need no common store, and a client can
go on as long as one gateway is left. It is signed, so nothing in it can be made up; it is not
encrypted, for all that it holds came from the client or was sent to it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from gateway.timeline import TimelineSnapshot
from parlante import convert
from parlante.errors import FailedPrecondition, InvalidInput
from parlante.types import AudioChunk, Controls, ControlUpdate, MotionInput
from parlante.v1 import session_state_pb2

__all__ = ["ResumeSealer", "SessionSnapshot"]

MIN_KEY_BYTES: Final = 32
TOKEN_TTL_S: Final = 300
_MAGIC: Final = b"PRT1"
_MAC_BYTES: Final = 32
_MAX_STATE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """All that another gateway needs of a live session.

    Attributes:
        session_id: Stays the same.
        avatar_key: Content key of the avatar.
        sample_rate_hz: Rate of the audio.
        seed: Of the motion.
        delay_budget_ms: Of the motion.
        timeline: The media clock and its utterances.
        num_messages: Client messages that have taken effect.
        checkpoint: Of the motion stream.
        checkpoint_sample: Where its audio goes on.
        next_frame: The first frame it makes next.
        controls: In force at the checkpoint.
        pending: What it was told since.
        frame_utterances: Utterances of the frames from `next_frame` on.
        num_dropped: Frames dropped since the start.
    """

    session_id: str
    avatar_key: str
    sample_rate_hz: int
    seed: int
    delay_budget_ms: int
    timeline: TimelineSnapshot
    num_messages: int
    checkpoint: bytes
    checkpoint_sample: int
    next_frame: int
    controls: Controls
    pending: tuple[MotionInput, ...]
    frame_utterances: Mapping[int, str]
    num_dropped: int


class ResumeSealer:
    """Makes tokens of snapshots and reads them again.

    Args:
        key: Secret of the fleet, at least 32 bytes.
        unix_s: Wall time; gateways agree on it to within some minutes.
    """

    def __init__(self, key: bytes, *, unix_s: Callable[[], float] = time.time) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise InvalidInput(
                f"a resume key has at least {MIN_KEY_BYTES} bytes; got {len(key)}; make one with "
                "`openssl rand -hex 32`",
                reason="BAD_SETTING",
                field="resume_key_file",
            )
        self._key = key
        self._unix_s = unix_s

    @classmethod
    def from_file(cls, path: Path) -> ResumeSealer:
        """Read the key of a file; white space at its ends does not count."""
        try:
            return cls(path.read_bytes().strip())
        except OSError as error:
            raise InvalidInput(
                f"cannot read the resume key {path}: {error.strerror}",
                reason="BAD_SETTING",
                field="resume_key_file",
            ) from error

    def seal(self, snapshot: SessionSnapshot) -> bytes:
        """Make the token of a snapshot."""
        state = _to_proto(snapshot, issued_unix_s=int(self._unix_s()))
        body = zlib.compress(state.SerializeToString(), 1)
        return _MAGIC + self._mac(body) + body

    def open(self, token: bytes) -> SessionSnapshot:
        """Read a token.

        Raises:
            InvalidInput: BAD_RESUME_TOKEN, it is none of this fleet's.
            FailedPrecondition: RESUME_EXPIRED, it is too old.
        """
        head = len(_MAGIC) + _MAC_BYTES
        mac, body = token[len(_MAGIC) : head], token[head:]
        if not token.startswith(_MAGIC) or not hmac.compare_digest(mac, self._mac(body)):
            raise _bad_token()
        state = session_state_pb2.SessionState()
        try:
            inflate = zlib.decompressobj()
            state.ParseFromString(inflate.decompress(body, _MAX_STATE_BYTES))
        except (zlib.error, DecodeError) as error:
            raise _bad_token() from error
        age_s = self._unix_s() - state.issued_unix_s
        if abs(age_s) > TOKEN_TTL_S:
            raise FailedPrecondition(
                f"a session can go on within {TOKEN_TTL_S} s; this one was left {age_s:.0f} s ago; "
                "begin a new session",
                reason="RESUME_EXPIRED",
            )
        return _from_proto(state)

    def _mac(self, body: bytes) -> bytes:
        return hmac.new(self._key, _MAGIC + body, hashlib.sha256).digest()


def _bad_token() -> InvalidInput:
    return InvalidInput(
        "config.resume.resume_token must be one that a gateway of this fleet made; got another; "
        "begin a new session",
        reason="BAD_RESUME_TOKEN",
        field="config.resume.resume_token",
    )


def _to_proto(snapshot: SessionSnapshot, *, issued_unix_s: int) -> session_state_pb2.SessionState:
    timeline = snapshot.timeline
    state = session_state_pb2.SessionState(
        session_id=snapshot.session_id,
        avatar_key=snapshot.avatar_key,
        sample_rate_hz=snapshot.sample_rate_hz,
        seed=snapshot.seed,
        delay_budget_ms=snapshot.delay_budget_ms,
        issued_unix_s=issued_unix_s,
        position_sample=timeline.position_sample,
        audio_sample=timeline.audio_sample,
        message_count=snapshot.num_messages,
        finished=[
            session_state_pb2.FinishedUtterance(utterance_id=name, interrupted=interrupted)
            for name, interrupted in timeline.finished
        ],
        named_count=timeline.num_named,
        checkpoint=snapshot.checkpoint,
        checkpoint_sample=snapshot.checkpoint_sample,
        next_frame=snapshot.next_frame,
        controls=convert.controls_to_proto(snapshot.controls),
        pending=[item for item in map(_pending_to_proto, snapshot.pending) if item is not None],
        frame_utterances=snapshot.frame_utterances,
        dropped_frame_count=snapshot.num_dropped,
    )
    if timeline.playing_id:
        state.playing.utterance_id = timeline.playing_id
        state.playing.playing = timeline.is_playing
    return state


def _pending_to_proto(item: MotionInput) -> session_state_pb2.PendingInput | None:
    match item:
        case AudioChunk():
            audio = session_state_pb2.PendingAudio(
                start_sample=item.start_sample, data=convert.samples_to_bytes(item.samples)
            )
            return session_state_pb2.PendingInput(audio=audio)
        case ControlUpdate():
            controls = convert.controls_to_proto(item.controls)
            return session_state_pb2.PendingInput(controls=controls)
        case _:  # a second of listening is not worth its bytes
            return None


def _from_proto(state: session_state_pb2.SessionState) -> SessionSnapshot:
    return SessionSnapshot(
        session_id=state.session_id,
        avatar_key=state.avatar_key,
        sample_rate_hz=state.sample_rate_hz,
        seed=state.seed,
        delay_budget_ms=state.delay_budget_ms,
        timeline=TimelineSnapshot(
            position_sample=state.position_sample,
            audio_sample=state.audio_sample,
            playing_id=state.playing.utterance_id,
            is_playing=state.playing.playing,
            finished=tuple((item.utterance_id, item.interrupted) for item in state.finished),
            num_named=state.named_count,
        ),
        num_messages=state.message_count,
        checkpoint=state.checkpoint,
        checkpoint_sample=state.checkpoint_sample,
        next_frame=state.next_frame,
        controls=convert.controls_from_proto(state.controls),
        pending=tuple(_pending_from_proto(item) for item in state.pending),
        frame_utterances=dict(state.frame_utterances),
        num_dropped=state.dropped_frame_count,
    )


def _pending_from_proto(item: session_state_pb2.PendingInput) -> MotionInput:
    if item.WhichOneof("input") == "controls":
        return ControlUpdate(controls=convert.controls_from_proto(item.controls))
    samples = convert.samples_from_bytes(
        item.audio.data, field="pending.audio", max_bytes=_MAX_STATE_BYTES
    )
    return AudioChunk(start_sample=item.audio.start_sample, samples=samples)
