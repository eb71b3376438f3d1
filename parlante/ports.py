"""The three seams between the gateway and the stages.

A port is implemented by a stage's engine (embedded) and by `parlante.rpc.remote` (over gRPC); one
abstract test suite runs over both. Streams are asynchronous transforms: they take an iterator of
inputs and give an iterator of outputs, end when their input ends, and free everything when closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from parlante.types import (
    AvatarInfo,
    AvatarLatents,
    FaceSelection,
    MotionBlock,
    MotionConfig,
    MotionInput,
    RenderConfig,
    RenderedFrame,
)


class Encoder(Protocol):
    """Portrait -> avatar."""

    async def create(
        self, image: bytes, *, name: str = "", selection: FaceSelection | None = None
    ) -> AvatarInfo:
        """Encode a portrait, or find it, and give it a name.

        Args:
            image: A JPEG, PNG or WebP file, at most 20 MB and 64 megapixels.
            name: DNS-safe, at most 63 characters; "" derives one from the content key.
            selection: Which face, when there are several.

        Raises:
            PortraitRejected: The picture is no usable portrait; `reason` says why.
            InvalidInput: The name is malformed.
            AlreadyExists: The name belongs to another portrait.
        """
        ...

    async def get(self, name: str) -> AvatarInfo:
        """Look an avatar up by name; raises `NotFound`."""
        ...

    async def list(
        self, *, page_size: int = 50, page_token: str = ""
    ) -> tuple[list[AvatarInfo], str]:
        """List avatars by name; returns a page and the token of the next ("" at the end)."""
        ...

    async def delete(self, name: str) -> None:
        """Forget a name, and its latents when no other name uses them; raises `NotFound`."""
        ...

    async def latents(self, key: str) -> AvatarLatents:
        """Give the latents of a content key; raises `NotFound`."""
        ...


class LatentSource(Protocol):
    """What gives latents by content key: an encoder, or a cache in front of one."""

    async def latents(self, key: str) -> AvatarLatents:
        """Give the latents of a content key; raises `NotFound`."""
        ...


class Motion(Protocol):
    """Audio and controls -> motion."""

    def delay_ms(self, config: MotionConfig) -> int:
        """Tell the algorithmic delay of a stream: a block and the look-ahead, milliseconds.

        It is the longest that fits into `config.delay_budget_ms`, or the shortest there is when
        none fits; 0 when it is not known, because a stage elsewhere has not been asked yet.
        """
        ...

    def stream(
        self, config: MotionConfig, inputs: AsyncIterator[MotionInput]
    ) -> AsyncIterator[MotionBlock]:
        """Generate motion for a stream of audio.

        Blocks follow each other without gap from frame 0, or from the end of the block that
        `config.resume_state` came with. A frame is given as soon as the audio it depends on has
        come (its own 40 ms and the model's look-ahead). When `inputs` ends the rest is generated
        with silence as look-ahead: ceil(samples / samples per frame) frames in all. Listening
        audio may have gaps or be absent, and is never waited for; what comes after its frames are
        made has no effect on them. Memory is bounded by one block, however long the stream.

        Raises:
            InvalidInput: Audio does not start at 0 (or at the checkpoint's sample) or has a gap or
                overlap (AUDIO_GAP, AUDIO_OVERLAP), listening audio goes back (LISTENING_OVERLAP),
                or the state to resume is none (BAD_RESUME_STATE).
            FailedPrecondition: The state to resume is of another bundle, rate or budget
                (RESUME_STATE_MISMATCH).
        """
        ...


class Renderer(Protocol):
    """Avatar and motion -> frames."""

    def stream(
        self, config: RenderConfig, motion: AsyncIterator[MotionBlock]
    ) -> AsyncIterator[RenderedFrame]:
        """Render one frame per row of motion, in order.

        Frame indexes may jump forward (the caller dropped motion) but never back. Frames that are
        later than `config.frame_deadline_ms` come without data, so that the caller knows.

        Raises:
            NotFound: The avatar's latents are not to be had.
            FailedPrecondition: They were made by another model bundle.
            InvalidInput: Motion is not finite or goes back in time.
            Overloaded: The renderer has no room for a further stream; asked at the start only.
            Unavailable: Frames cannot be made, and could not for a while.
        """
        ...
