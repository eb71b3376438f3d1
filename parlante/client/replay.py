"""What a client would have to send again if its gateway were lost. Pure state.

The server's resume points say which audio is played and how many messages have taken effect; what
they cover is forgotten. Audio before a point's sample is never needed again; controls that have
taken effect are in the point, but those for a later time may not be.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from parlante.v1 import gateway_pb2

__all__ = ["Replay", "ReplayLog"]

MAX_MESSAGES: Final = 4096
_BYTES_PER_SAMPLE: Final = 2
_KEPT: Final = frozenset({"audio", "control", "end_of_utterance", "interrupt"})


@dataclass(frozen=True, slots=True)
class Replay:
    """Messages to send again, in order.

    Attributes:
        messages: The messages.
        num_repeated: How many of them, the first ones, the point had counted.
    """

    messages: tuple[gateway_pb2.ConverseRequest, ...]
    num_repeated: int


@dataclass(frozen=True, slots=True)
class _Entry:
    index: int
    start_sample: int  # audio of the client before it
    request: gateway_pb2.ConverseRequest

    @property
    def end_sample(self) -> int:
        return self.start_sample + len(self.request.audio.data) // _BYTES_PER_SAMPLE


class ReplayLog:
    """Messages since the last resume point.

    Attributes:
        has_overflowed: True once there were too many; then nothing can be replayed any more.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._num_noted = 0
        self._end_sample = 0
        self.has_overflowed = False

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, request: gateway_pb2.ConverseRequest) -> None:
        """Note a message before it is sent."""
        kind = request.WhichOneof("message")
        entry = _Entry(self._num_noted, self._end_sample, request)
        self._num_noted += 1
        if kind == "audio":
            self._end_sample = entry.end_sample
        if kind in _KEPT and not self.has_overflowed:
            self._entries.append(entry)
            if len(self._entries) > MAX_MESSAGES:
                self.has_overflowed = True
                self._entries.clear()

    def acknowledge(self, point: gateway_pb2.ResumePoint) -> None:
        """Forget what a session that goes on from a point does not need."""
        self._entries = deque(entry for entry in self._entries if _is_needed(entry, point))

    def replay(self, point: gateway_pb2.ResumePoint) -> Replay:
        """Give what a session that goes on from a point is sent again."""
        needed = [entry for entry in self._entries if _is_needed(entry, point)]
        return Replay(
            tuple(_cut(entry, point.audio_sample) for entry in needed),
            sum(entry.index < point.message_count for entry in needed),
        )


def _is_needed(entry: _Entry, point: gateway_pb2.ResumePoint) -> bool:
    if entry.index >= point.message_count:
        return True
    match entry.request.WhichOneof("message"):
        case "audio":
            return entry.end_sample > point.audio_sample
        case "end_of_utterance":
            return entry.start_sample >= point.audio_sample
        case "control":
            return entry.request.control.apply_offset_us > point.media_offset_us
        case _:
            return False


def _cut(entry: _Entry, audio_sample: int) -> gateway_pb2.ConverseRequest:
    """Leave out the samples of an audio message that are not needed."""
    num_played = audio_sample - entry.start_sample
    if entry.request.WhichOneof("message") != "audio" or num_played <= 0:
        return entry.request
    audio = entry.request.audio
    return gateway_pb2.ConverseRequest(
        audio=gateway_pb2.AudioInput(
            start_sample=audio.start_sample + num_played,
            data=audio.data[num_played * _BYTES_PER_SAMPLE :],
            utterance_id=audio.utterance_id,
        )
    )
