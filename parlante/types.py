"""Domain values shared by every stage, and the latent contract between them.

Axis legend used in docstrings: B batch, T frames (25 Hz), S audio samples, H W pixels, D channels.

Image axes: x to the right, y down, origin top left. "Left" in a channel name is the *subject's*
left, as in ARKit: it appears on the right of an unmirrored picture.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput

Float32Array = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]
Uint8Array = npt.NDArray[np.uint8]

FRAME_RATE_HZ: Final = 25
FRAME_DURATION_US: Final = 1_000_000 // FRAME_RATE_HZ
FRAME_SIZE_PX: Final = 512  # of the latents' crop, and of frames unless asked otherwise
FRAME_SIZES_PX: Final = (256, 512, 768, 1024)
MAX_PICTURE_LONG_PX: Final = 1920  # of frames that show the whole picture
MAX_PICTURE_SHORT_PX: Final = 1080
MODEL_SAMPLE_RATE_HZ: Final = 16_000
SAMPLES_PER_FRAME: Final = MODEL_SAMPLE_RATE_HZ // FRAME_RATE_HZ  # 640
MIN_SAMPLE_RATE_HZ: Final = 8_000
MAX_SAMPLE_RATE_HZ: Final = 48_000

POSE_CHANNELS: Final[tuple[str, ...]] = (
    "headYaw",  # rad, + = the nose moves towards image right
    "headPitch",  # rad, + = the nose moves down
    "headRoll",  # rad, + = clockwise in the image
    "headX",  # inter-ocular distances, + = image right
    "headY",  # inter-ocular distances, + = down
    "headLogScale",  # natural log of the size relative to the portrait
)

# Apple's ARKit names in the order game engines know from Audio2Face.
ARKIT_CHANNELS: Final[tuple[str, ...]] = (
    "eyeBlinkLeft",
    "eyeLookDownLeft",
    "eyeLookInLeft",
    "eyeLookOutLeft",
    "eyeLookUpLeft",
    "eyeSquintLeft",
    "eyeWideLeft",
    "eyeBlinkRight",
    "eyeLookDownRight",
    "eyeLookInRight",
    "eyeLookOutRight",
    "eyeLookUpRight",
    "eyeSquintRight",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)

GAZE_CHANNELS: Final[tuple[str, ...]] = (
    "gazeYaw",  # rad, eye in head, + = towards image right
    "gazePitch",  # rad, eye in head, + = down
)

MOTION_CHANNELS: Final[tuple[str, ...]] = POSE_CHANNELS + ARKIT_CHANNELS + GAZE_CHANNELS
MOTION_DIM: Final = len(MOTION_CHANNELS)  # 60
MOTION_INDEX: Final[Mapping[str, int]] = MappingProxyType(
    {name: index for index, name in enumerate(MOTION_CHANNELS)}
)
MOTION_SPACE: Final = "parlante.motion/1"

EMOTIONS: Final[tuple[str, ...]] = (
    "neutral",
    "happy",
    "angry",
    "sad",
    "surprised",
    "disgusted",
    "afraid",
)

MAX_GAZE_RAD: Final = math.radians(35.0)
MIN_HEAD_DISTANCE: Final = 0.5
MAX_HEAD_DISTANCE: Final = 2.0
MAX_INTENSITY: Final = 2.0
MAX_BLINK_RATE: Final = 3.0
MAX_HEAD_POSE_RAD: Final = 0.44  # 25 degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """A pose of the head relative to the portrait's; signs as `POSE_CHANNELS`.

    Attributes:
        yaw_rad: [-0.44, 0.44], + = the nose moves towards image right.
        pitch_rad: [-0.44, 0.44], + = the nose moves down.
        roll_rad: [-0.44, 0.44], + = clockwise in the image.

    Raises:
        InvalidInput: An angle is not finite or out of range.
    """

    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    roll_rad: float = 0.0

    def __post_init__(self) -> None:
        for name in ("yaw_rad", "pitch_rad", "roll_rad"):
            value = getattr(self, name)
            check_range(f"head_pose.{name}", value, -MAX_HEAD_POSE_RAD, MAX_HEAD_POSE_RAD)


class Driving(enum.Enum):
    """What of a face the voice drives."""

    FULL = "full"
    EXPRESSION_ONLY = "expression_only"  # the head rests where it is anchored, the face moves
    POSE_ONLY = "pose_only"  # the face rests, the head moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a client may steer while a session runs.

    Attributes:
        gaze_yaw_rad: Main gaze direction, [-0.61, 0.61], + = towards image right.
        gaze_pitch_rad: Main gaze direction, [-0.61, 0.61], + = down.
        head_distance: Distance relative to the portrait, [0.5, 2]; 2 halves the size of the face.
        emotion: Weights in [0, 1] by name of `EMOTIONS`; absent names are 0.
        head_motion: Intensity of head motion, [0, 2], 1 = as generated; 0 holds the head still.
        expression: Intensity of brows, blinks and expression, [0, 2], 1 = as generated.
        blink_rate: Blinks relative to the natural rate, [0, 3]; 0 = none.
        head_pose: Rest pose that the head moves about; None = as the gaze asks. With `head_motion`
            0 the head is held exactly there.
        driving: What of the face the voice drives.

    Raises:
        InvalidInput: A value is not finite or out of range, or an emotion is unknown.
    """

    gaze_yaw_rad: float = 0.0
    gaze_pitch_rad: float = 0.0
    head_distance: float = 1.0
    emotion: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    head_motion: float = 1.0
    expression: float = 1.0
    blink_rate: float = 1.0
    head_pose: HeadPose | None = None
    driving: Driving = Driving.FULL

    def __post_init__(self) -> None:
        check_range("gaze_yaw_rad", self.gaze_yaw_rad, -MAX_GAZE_RAD, MAX_GAZE_RAD)
        check_range("gaze_pitch_rad", self.gaze_pitch_rad, -MAX_GAZE_RAD, MAX_GAZE_RAD)
        check_range("head_distance", self.head_distance, MIN_HEAD_DISTANCE, MAX_HEAD_DISTANCE)
        check_range("head_motion", self.head_motion, 0.0, MAX_INTENSITY)
        check_range("expression", self.expression, 0.0, MAX_INTENSITY)
        check_range("blink_rate", self.blink_rate, 0.0, MAX_BLINK_RATE)
        for name, weight in self.emotion.items():
            if name not in EMOTIONS:
                raise InvalidInput(
                    f"emotion names are {', '.join(EMOTIONS)}; got {name[:40]!r}; use one of them",
                    reason="UNKNOWN_EMOTION",
                    field="controls.emotion",
                )
            check_range(f"emotion[{name}]", weight, 0.0, 1.0)
        object.__setattr__(self, "emotion", MappingProxyType(dict(self.emotion)))


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidInput` unless `value` is finite and within [low, high]."""
    if not (math.isfinite(value) and low - 1e-6 <= value <= high + 1e-6):
        raise InvalidInput(
            f"{name} must be a finite number in [{low:g}, {high:g}]; got {value!r}",
            reason="CONTROL_OUT_OF_RANGE",
            field=name,
        )


# --- audio -------------------------------------------------------------------------------------


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
    """

    sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ
    seed: int = 0
    controls: Controls = field(default_factory=Controls)
    delay_budget_ms: int = DEFAULT_DELAY_BUDGET_MS
    resume_state: bytes = field(default=b"", repr=False)
    emit_checkpoints: bool = False

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


# --- avatars -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, dtype (numpy name) and shape of one latent tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpec:
    """The named, versioned layout of an avatar's latents.

    Attributes:
        space: Name and version of the layout, for example ``parlante.avatar/1``.
        bundle_digest: Hex SHA-256 of the models and code version that made the latents.
        tensors: One entry per tensor, sorted by name.
    """

    space: str
    bundle_digest: str
    tensors: tuple[TensorSpec, ...]


AVATAR_SPACE: Final = "parlante.avatar/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AvatarLatents:
    """What the encoder makes of one portrait and the renderer needs of it.

    Tensors of space ``parlante.avatar/1``:
        image: uint8 [512, 512, 3], RGB, the aligned crop.
        matte: uint8 [512, 512], 255 = person.
        background: uint8 [512, 512, 3], RGB, the crop with the person in-painted away.
        landmarks: float32 [478, 3], face mesh (468) and irises (10), px of the crop, z towards
            the back, same unit as x and y.
        canonical: float32 [468, 3], the mesh in canonical pose (frontal), inter-ocular distances.
        identity: float32 [D], shape code independent of pose and expression.
        source_motion: float32 [60], pose (absolute, of the photo) and dynamics of the photo.
        image_fine: uint8 [S, S, 3], 512 < S <= 1024, the crop as fine as the picture has it; only
            where that is finer than `image`, and not with `picture`.
        picture: uint8 [H, W, 3], RGB, the whole picture; `Framing.FULL` only.
        placement: float32 [3], left, top and size of the crop in `picture`, px; with `picture`.

    Attributes:
        key: Content key, hex SHA-256 over decoded pixels, options and bundle digest.
        spec: Layout of `tensors`.
        tensors: Read-only arrays by name.
    """

    key: str
    spec: LatentSpec
    tensors: Mapping[str, npt.NDArray[np.generic]]

    @property
    def num_bytes(self) -> int:
        """Sum of the tensors' sizes."""
        return sum(t.nbytes for t in self.tensors.values())


class FaceChoice(enum.Enum):
    """Which face to take when a picture shows several."""

    ONLY = "only"  # refuse a picture with several faces
    LARGEST = "largest"
    INDEX = "index"  # by index, faces sorted from left to right


class Framing(enum.StrEnum):
    """How much of the picture an avatar shows."""

    HEAD = "head"  # a square around head and collar
    SHOULDERS = "shoulders"  # a wider square, as far as the picture goes
    FULL = "full"  # the whole picture, at its own size up to 1920x1080; the head in it moves


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceSelection:
    """Which face of a picture, and how much of the picture around it.

    Attributes:
        choice: How to choose a face.
        index: With INDEX, from 0, left to right.
        framing: How much of the picture is shown.
    """

    choice: FaceChoice = FaceChoice.ONLY
    index: int = 0
    framing: Framing = Framing.HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarInfo:
    """A named avatar.

    Attributes:
        name: DNS-safe id, lower case, at most 63 characters.
        key: Content key of its latents.
        bundle_digest: Digest of the encoder bundle that made them.
        created_unix_ms: When the name was given, milliseconds since 1970.
        source_width_px: Width of the uploaded picture after orientation.
        source_height_px: Height of the uploaded picture after orientation.
        latent_bytes: Size of the latents.
        from_cache: True when the latents were there already.
        framing: How much of the picture is shown.
    """

    name: str
    key: str
    bundle_digest: str
    created_unix_ms: int
    source_width_px: int
    source_height_px: int
    latent_bytes: int
    from_cache: bool = False
    framing: Framing = Framing.HEAD


# --- frames ------------------------------------------------------------------------------------


class FrameEncoding(enum.Enum):
    """How a frame's pixels are carried; raw ones are full range, top row first, no padding."""

    JPEG = "jpeg"
    H264 = "h264"  # Annex B, one access unit per frame
    RGBA32 = "rgba32"
    BGRA32 = "bgra32"
    RGB24 = "rgb24"
    NV12 = "nv12"  # BT.709 limited range
    PNG = "png"  # with alpha when the background is transparent
    WEBP = "webp"  # lossy; with alpha when the background is transparent

    @property
    def has_alpha(self) -> bool:
        """Whether frames can be transparent; not premultiplied."""
        return self in _ALPHA_ENCODINGS


_ALPHA_ENCODINGS: Final = frozenset(
    {FrameEncoding.RGBA32, FrameEncoding.BGRA32, FrameEncoding.PNG, FrameEncoding.WEBP}
)
# Beside an inline portrait of 3 MiB it must fit into a message of 4 MiB.
MAX_BACKGROUND_BYTES: Final = 960 * 1024


class BackgroundKind(enum.Enum):
    """What is seen behind the person."""

    KEPT = "kept"  # the portrait's own
    BLURRED = "blurred"  # the portrait's own, out of focus
    COLOUR = "colour"
    PICTURE = "picture"  # another picture, scaled and cropped to fill the frame
    TRANSPARENT = "transparent"  # none: frames carry an alpha channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What is seen behind the person.

    Attributes:
        kind: What.
        colour_rgb: With COLOUR: red, green, blue, [0, 255] each.
        picture: With PICTURE: a JPEG, PNG or WebP file, at most 960 KiB.

    Raises:
        InvalidInput: BAD_COLOUR, BACKGROUND_PICTURE_REQUIRED or IMAGE_TOO_LARGE.
    """

    kind: BackgroundKind = BackgroundKind.KEPT
    colour_rgb: tuple[int, int, int] = (0, 0, 0)
    picture: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.colour_rgb) != 3 or not all(0 <= v <= 255 for v in self.colour_rgb):
            raise InvalidInput(
                f"a colour is red, green and blue in [0, 255]; got {self.colour_rgb}",
                reason="BAD_COLOUR",
                field="background.colour_rgb",
            )
        if self.kind is BackgroundKind.PICTURE and not self.picture:
            raise InvalidInput(
                "a picture as background needs background.picture; got none",
                reason="BACKGROUND_PICTURE_REQUIRED",
                field="background.picture",
            )
        if len(self.picture) > MAX_BACKGROUND_BYTES:
            raise InvalidInput(
                f"a picture as background has at most {MAX_BACKGROUND_BYTES} bytes; got "
                f"{len(self.picture)}; scale it down, 1024 px are enough",
                reason="IMAGE_TOO_LARGE",
                field="background.picture",
            )


def usual_bitrate_kbps(size_px: int) -> int:
    """H.264 bit rate that suits frames of size_px x size_px, kbit/s: 1500 at 512 px."""
    kbps = 1500.0 * math.pow(size_px / FRAME_SIZE_PX, 1.5)
    return round(min(max(kbps, 100.0), 20_000.0))


def picture_zoom(width_px: int, height_px: int) -> float:
    """Frame pixels per pixel of a picture that is shown whole: at most 1, to fit 1920x1080."""
    long_px, short_px = max(width_px, height_px), min(width_px, height_px)
    return min(1.0, MAX_PICTURE_LONG_PX / long_px, MAX_PICTURE_SHORT_PX / short_px)


def picture_frame_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Width and height of frames that show a whole picture, even, at most 1920x1080 either way."""
    zoom = picture_zoom(width_px, height_px)
    width, height = (max(2, 2 * int(side * zoom / 2 + 1e-6)) for side in (width_px, height_px))
    return width, height


MAX_FRAME_DEADLINE_MS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderConfig:
    """What a render stream needs before its first motion frame.

    Attributes:
        avatar_key: Content key of the avatar's latents.
        encoding: How frames are carried.
        jpeg_quality: Of JPEG and WebP, [1, 100].
        h264_bitrate_kbps: Target, [100, 20000].
        frame_size_px: Edge of square frames: 256, 512, 768 or 1024; 0 takes 512, or the picture's
            own size for avatars framed `Framing.FULL`, which have no other.
        background: What is seen behind the person.
        frame_deadline_ms: A frame that is not made this long after its motion came is left out,
            [0, 10000]; 0 = frames are never left out.

    Raises:
        InvalidInput: A value is out of range (CONTROL_OUT_OF_RANGE, BAD_FRAME_SIZE) or the
            encoding cannot carry a transparent background (ENCODING_WITHOUT_ALPHA).
    """

    avatar_key: str
    encoding: FrameEncoding = FrameEncoding.JPEG
    jpeg_quality: int = 85
    h264_bitrate_kbps: int = 1500
    frame_size_px: int = 0
    background: Background = field(default_factory=Background)
    frame_deadline_ms: int = 0

    def __post_init__(self) -> None:
        check_range("jpeg_quality", self.jpeg_quality, 1, 100)
        check_range("h264_bitrate_kbps", self.h264_bitrate_kbps, 100, 20_000)
        check_range("frame_deadline_ms", self.frame_deadline_ms, 0, MAX_FRAME_DEADLINE_MS)
        if self.frame_size_px not in (0, *FRAME_SIZES_PX):
            raise InvalidInput(
                f"frame_size_px must be one of {', '.join(map(str, FRAME_SIZES_PX))}, or 0 for "
                f"the default; got {self.frame_size_px}",
                reason="BAD_FRAME_SIZE",
                field="frame_size_px",
            )
        is_clear = self.background.kind is BackgroundKind.TRANSPARENT
        if is_clear and not self.encoding.has_alpha:
            raise InvalidInput(
                f"{self.encoding.value} cannot carry a transparent background; take png, webp, "
                "rgba32 or bgra32, or a coloured background to key out",
                reason="ENCODING_WITHOUT_ALPHA",
                field="frame_encoding",
            )

    def frame_size_of(self, framing: Framing, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the frames of an avatar.

        Args:
            framing: The avatar's.
            width_px: Of its picture.
            height_px: Of its picture.

        Raises:
            InvalidInput: The avatar shows its whole picture, and another size (FRAME_SIZE_FIXED)
                or background (BACKGROUND_FIXED) is asked for.
        """
        if framing is not Framing.FULL:
            size = self.frame_size_px or FRAME_SIZE_PX
            return size, size
        if self.frame_size_px:
            raise InvalidInput(
                "frames that show the whole picture have its size; leave frame_size_px at 0, or "
                "create the avatar with the framing head or shoulders",
                reason="FRAME_SIZE_FIXED",
                field="frame_size_px",
            )
        if self.background.kind is not BackgroundKind.KEPT:
            raise InvalidInput(
                "frames that show the whole picture keep its background; create the avatar with "
                "the framing head or shoulders for another",
                reason="BACKGROUND_FIXED",
                field="background",
            )
        return picture_frame_size(width_px, height_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFrame:
    """One encoded frame.

    Attributes:
        frame_index: Index on the stream's 25 Hz clock, as in the motion block it came from.
        data: Encoded or raw pixels; b"" for a frame that was left out because it was late.
        key_frame: True when the frame can be decoded by itself.
        width_px: Width in pixels.
        height_px: Height in pixels.
    """

    frame_index: int
    data: bytes
    key_frame: bool
    width_px: int = FRAME_SIZE_PX
    height_px: int = FRAME_SIZE_PX

    @property
    def is_left_out(self) -> bool:
        """True when there is no picture."""
        return not self.data
