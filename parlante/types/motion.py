"""What goes into the motion stage and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from parlante.errors import InvalidInput
from parlante.types.channels import MOTION_DIM
from parlante.types.controls import Controls
from parlante.types.units import (
    MAX_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
    MODEL_SAMPLE_RATE_HZ,
    Float32Array,
    Int16Array,
)

__all__ = [
    "BURST_DELAY_BUDGET_MS",
    "DEFAULT_DELAY_BUDGET_MS",
    "MAX_CHECKPOINT_BYTES",
    "MAX_DELAY_BUDGET_MS",
    "MIN_DELAY_BUDGET_MS",
    "AudioChunk",
    "ControlUpdate",
    "ListeningChunk",
    "MotionBlock",
    "MotionConfig",
    "MotionInput",
    "MotionTraits",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AudioChunk:
    """Contiguous mono audio on a session's media clock.

    Attributes:
        start_sample: Position of the first sample since the start of the stream, at its own rate.
        samples: int16 [S].
    """

    start_sample: int
    samples: Int16Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListeningChunk:
    """What the user says while the avatar listens; optional, and never waited for.

    Frames are made from what is there when their audio is. A gap between chunks is silence.

    Attributes:
        start_sample: Position of the first sample on the same clock as `AudioChunk`; must not go
            back behind the end of the chunk before.
        samples: int16 [S] at the stream's rate.
    """

    start_sample: int
    samples: Int16Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlUpdate:
    """New controls; they hold from the first frame that is not generated yet."""

    controls: Controls


MotionInput = AudioChunk | ListeningChunk | ControlUpdate

MIN_DELAY_BUDGET_MS: Final = 120
MAX_DELAY_BUDGET_MS: Final = 400
DEFAULT_DELAY_BUDGET_MS: Final = 160
BURST_DELAY_BUDGET_MS: Final = 320  # of recordings, where nobody waits for the answer
MAX_CHECKPOINT_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionConfig:
    """What a motion stream needs before its first sample.

    Attributes:
        sample_rate_hz: Rate of the audio that follows, [8000, 48000].
        seed: Fixes all that is random; the same seed and audio give the same motion.
        controls: Controls at the start.
        delay_budget_ms: Algorithmic delay that the stream may take, [120, 400]; the generator uses
            the longest look-ahead that fits. Further ahead: better closed lips, later frames.
        resume_state: b"", or a `MotionBlock.checkpoint` of the same bundle, at most 64 KiB: the
            stream goes on after that block, its audio at that block's `checkpoint_sample`. The
            rate and the budget must be those of then, and so must the seed for the motion to be
            what it would have been; the controls hold from the first new frame.
        emit_checkpoints: Give a checkpoint with every block.
        in_background: Nobody waits for the motion in real time: it gets what other streams leave.
    """

    sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ
    seed: int = 0
    controls: Controls = field(default_factory=Controls)
    delay_budget_ms: int = DEFAULT_DELAY_BUDGET_MS
    resume_state: bytes = field(default=b"", repr=False)
    emit_checkpoints: bool = False
    in_background: bool = False

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE_HZ <= self.sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
            raise InvalidInput(
                f"sample_rate_hz must be in [{MIN_SAMPLE_RATE_HZ}, {MAX_SAMPLE_RATE_HZ}]; "
                f"got {self.sample_rate_hz}",
                reason="UNSUPPORTED_SAMPLE_RATE",
                field="sample_rate_hz",
            )
        if not MIN_DELAY_BUDGET_MS <= self.delay_budget_ms <= MAX_DELAY_BUDGET_MS:
            raise InvalidInput(
                f"delay_budget_ms must be in [{MIN_DELAY_BUDGET_MS}, {MAX_DELAY_BUDGET_MS}]; "
                f"got {self.delay_budget_ms}",
                reason="DELAY_BUDGET_OUT_OF_RANGE",
                field="delay_budget_ms",
            )
        if len(self.resume_state) > MAX_CHECKPOINT_BYTES:
            raise InvalidInput(
                f"resume_state has at most {MAX_CHECKPOINT_BYTES} bytes; got "
                f"{len(self.resume_state)}; send a checkpoint of a motion stream as it came",
                reason="RESUME_STATE_TOO_LARGE",
                field="resume_state",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MotionBlock:
    """Consecutive frames of motion.

    Attributes:
        start_frame: Index of the first frame since the start of the stream (25 Hz).
        values: float32 [T, 60] in the order of `MOTION_CHANNELS`; pose is relative to the
            portrait's own pose, so all zeros is the portrait as it is.
        checkpoint: The stream's state after this block, for `MotionConfig.resume_state`, at most
            64 KiB; b"" unless asked for, and in blocks that are made after the audio has ended.
        checkpoint_sample: Where the audio of a stream that resumes from it goes on.
    """

    start_frame: int
    values: Float32Array
    checkpoint: bytes = field(default=b"", repr=False)
    checkpoint_sample: int = 0

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != MOTION_DIM:
            raise InvalidInput(
                f"motion values must be [T, {MOTION_DIM}]; got {list(self.values.shape)}",
                reason="BAD_MOTION_SHAPE",
                field="values",
            )
        if len(self.checkpoint) > MAX_CHECKPOINT_BYTES:
            raise InvalidInput(
                f"a checkpoint has at most {MAX_CHECKPOINT_BYTES} bytes; "
                f"got {len(self.checkpoint)}",
                reason="CHECKPOINT_TOO_LARGE",
                field="checkpoint",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionTraits:
    """What a motion generator says of itself.

    Attributes:
        algorithmic_delay_ms: Block length plus look-ahead of a stream with the default budget.
        bundle_digest: Hex SHA-256 of its model.
    """

    algorithmic_delay_ms: int
    bundle_digest: str
