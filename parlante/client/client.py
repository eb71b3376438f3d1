"""The way in: avatars and conversations over one gRPC channel."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc

from parlante.aio import closing
from parlante.client.link import OpenCall, StartCall, Way
from parlante.client.messages import Pacing, pacing_to_proto
from parlante.client.session import Session
from parlante.convert import (
    avatar_from_proto,
    background_to_proto,
    controls_to_proto,
    face_choice_to_proto,
    frame_encoding_to_proto,
    framing_to_proto,
)
from parlante.errors import InvalidInput, Unavailable
from parlante.rpc.calls import response_of, translated_errors
from parlante.rpc.channel import open_channel
from parlante.rpc.remote import RemoteRenderer
from parlante.rpc.tls import TlsFiles
from parlante.types import (
    MODEL_SAMPLE_RATE_HZ,
    AvatarInfo,
    Background,
    Controls,
    FaceSelection,
    Float32Array,
    FrameEncoding,
    Framing,
    MotionBlock,
    RenderConfig,
    RenderedFrame,
)
from parlante.v1 import common_pb2, encoder_pb2, encoder_pb2_grpc, gateway_pb2, gateway_pb2_grpc

__all__ = ["ParlanteClient"]

_UPLOAD_CHUNK_BYTES: Final = 256 * 1024
# Frames the server may have on the way before it drops some: 0.4 s bridges ordinary jitter.
_LIVE_CREDITS: Final = 10
_BLOCK_FRAMES: Final = 25  # of motion in a message

Portrait = bytes | str | Path


class ParlanteClient:
    """A client of one gateway; an async context manager.

    Args:
        target: ``host:port`` of the gateway, or of several with commas: sessions begin at the
            first and go on at the next when one is lost. Behind a load balancer one is enough.
        tls: Key files of a secure channel; None for plain text.
        timeout_s: Limit of every call but a running session, in seconds.

    Example:
        >>> async def speak(session: Session) -> None:
        ...     await session.send_audio(samples)
        ...     await session.finish()
        >>> async with ParlanteClient("localhost:50050") as client:
        ...     avatar = await client.create_avatar("me.jpg", name="me")
        ...     async with client.converse(avatar=avatar.name) as session, TaskGroup() as tasks:
        ...         tasks.create_task(speak(session))
        ...         async for item in session:  # meanwhile: a frame not taken in time is lost
        ...             ...
    """

    def __init__(
        self,
        target: str,
        *,
        tls: TlsFiles | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self._targets = [part.strip() for part in target.split(",")]
        self._tls = tls
        self._timeout_s = timeout_s
        self._open_channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> ParlanteClient:
        self._open_channel = open_channel(self._targets[0], tls=self._tls)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open_channel is not None:
            await self._open_channel.close(None)
            self._open_channel = None

    async def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Wait until the server is connected; raises `Unavailable` after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.channel_ready()
        except TimeoutError:
            raise Unavailable(
                f"no server answered at {self._targets[0]} within {timeout_s:g} s; "
                "check the address and that `parlante serve` runs there",
                reason="SERVER_UNREACHABLE",
            ) from None

    # --- avatars -------------------------------------------------------------------------------

    async def create_avatar(
        self, portrait: Portrait, *, name: str = "", face: FaceSelection | None = None
    ) -> AvatarInfo:
        """Upload a portrait and make an avatar of it, or find the one it made before.

        Args:
            portrait: Path or bytes of a JPEG, PNG or WebP file, up to 20 MB and 64 megapixels.
            name: Wanted name: a-z, 0-9 and '-', up to 63; "" lets the server choose.
            face: Which face, when there are several, and how much of the picture is shown.

        Raises:
            PortraitRejected: The picture is no usable portrait; `reason` says why.
            InvalidInput: The file cannot be read or the name is malformed.
            AlreadyExists: The name belongs to another portrait.
        """
        selection = face or FaceSelection()
        config = encoder_pb2.CreateAvatarConfig(
            name=name,
            face_choice=face_choice_to_proto(selection.choice),
            face_index=selection.index,
            framing=framing_to_proto(selection.framing),
        )
        data = await asyncio.to_thread(_read_portrait, portrait)
        answer = await response_of(
            self._avatars.CreateAvatar(_upload(config, data), timeout=self._timeout_s)
        )
        return avatar_from_proto(answer.avatar, from_cache=answer.from_cache)

    async def get_avatar(self, name: str) -> AvatarInfo:
        """Look an avatar up; raises `NotFound`."""
        request = encoder_pb2.GetAvatarRequest(name=name)
        with translated_errors():
            answer = await self._avatars.GetAvatar(request, timeout=self._timeout_s)
        return avatar_from_proto(answer.avatar)

    async def list_avatars(self) -> list[AvatarInfo]:
        """List all avatars by name."""
        found: list[AvatarInfo] = []
        token = ""
        while True:
            request = encoder_pb2.ListAvatarsRequest(page_token=token)
            with translated_errors():
                answer = await self._avatars.ListAvatars(request, timeout=self._timeout_s)
            found.extend(avatar_from_proto(avatar) for avatar in answer.avatars)
            token = answer.next_page_token
            if not token:
                return found

    async def delete_avatar(self, name: str) -> None:
        """Forget an avatar; raises `NotFound`."""
        request = encoder_pb2.DeleteAvatarRequest(name=name)
        with translated_errors():
            await self._avatars.DeleteAvatar(request, timeout=self._timeout_s)

    # --- conversation --------------------------------------------------------------------------

    def converse(
        self,
        *,
        avatar: str = "",
        portrait: bytes = b"",
        sample_rate_hz: int = MODEL_SAMPLE_RATE_HZ,
        encodings: Sequence[FrameEncoding] = (FrameEncoding.JPEG,),
        pacing: Pacing = Pacing.LIVE,
        seed: int = 0,
        controls: Controls | None = None,
        return_audio: bool = False,
        return_motion: bool = False,
        frames: bool = True,
        jpeg_quality: int = 0,
        h264_bitrate_kbps: int = 0,
        max_frames_in_flight: int | None = None,
        delay_budget_ms: int = 0,
        frame_size_px: int = 0,
        background: Background | None = None,
        framing: Framing = Framing.HEAD,
        resumable: bool = True,
    ) -> Session:
        """Open a session; use the result as ``async with client.converse(...) as session``.

        Args:
            avatar: Name of an avatar; or else give `portrait`.
            portrait: A JPEG, PNG or WebP file inline, up to 3 MiB.
            sample_rate_hz: Rate of the audio you send, [8000, 48000].
            encodings: Frame encodings you can take, best first; `SessionInfo` says which it is.
            pacing: LIVE for conversations, BURST for files.
            seed: Fixes all that is random.
            controls: Gaze, distance, emotion, intensities and the rest at the start.
            return_audio: True: get the audio back, aligned with the frames.
            return_motion: True: get motion channels (ARKit names, pose, gaze).
            frames: False: no pictures, for engines that drive a face of their own.
            jpeg_quality: [1, 100]; 0 = the server's default.
            h264_bitrate_kbps: [100, 20000]; 0 = the server's default.
            max_frames_in_flight: Credits, [0, 250]; 0 = none, None = chosen by pacing.
            delay_budget_ms: Delay that motion may take to hear ahead, [120, 400]; longer closes
                lips better. 0 = 160 in LIVE, 320 in BURST. `SessionInfo` says what it came to.
            frame_size_px: Edge of square frames: 256, 512, 768 or 1024; 0 = 512, or the picture's
                own size for avatars framed FULL.
            background: What is seen behind the person; None keeps the portrait's own. Transparent
                ones need an encoding that carries alpha.
            framing: How much of an inline portrait is shown; a named avatar has its own.
            resumable: True: a live session goes on by itself when its server is lost or stops, at
                the next of the client's targets; the servers need a resume key for it.
        """
        if bool(avatar) == bool(portrait):
            raise InvalidInput(
                "a session needs an avatar's name or a portrait, and not both",
                reason="AVATAR_REQUIRED",
                field="avatar",
            )
        if max_frames_in_flight is None:
            # In a burst HTTP/2 flow control is enough: nothing is dropped, the server waits.
            max_frames_in_flight = _LIVE_CREDITS if pacing is Pacing.LIVE else 0
        config = gateway_pb2.SessionConfig(
            audio_encoding=common_pb2.AUDIO_ENCODING_LINEAR16,
            sample_rate_hz=sample_rate_hz,
            frame_encodings=[frame_encoding_to_proto(encoding) for encoding in encodings],
            jpeg_quality=jpeg_quality,
            h264_bitrate_kbps=h264_bitrate_kbps,
            seed=seed,
            controls=controls_to_proto(controls or Controls()),
            pacing=pacing_to_proto(pacing),
            return_audio=return_audio,
            return_motion=return_motion,
            no_frames=not frames,
            max_frames_in_flight=max_frames_in_flight,
            delay_budget_ms=delay_budget_ms,
            frame_size_px=frame_size_px,
            background=background_to_proto(background or Background()),
            framing=framing_to_proto(framing),
        )
        if avatar:
            config.avatar_name = avatar
        else:
            config.portrait = portrait
        config.resumable = resumable and pacing is Pacing.LIVE
        return Session(self._calls(), config, pacing=pacing, start_timeout_s=self._timeout_s)

    async def render(
        self, config: RenderConfig, motion: Float32Array
    ) -> AsyncIterator[RenderedFrame]:
        """Render motion of your own on an avatar, as fast as the server goes.

        Args:
            config: The avatar's content key (`AvatarInfo.key`) and how frames are to be.
            motion: float32 [T, 60] in the order of `MOTION_CHANNELS`, 25 frames per second.

        Yields:
            One frame per row, in order.

        Raises:
            NotFound: There is no avatar of that key.
            InvalidInput: Motion is not finite or has another shape.
        """
        renderer = RemoteRenderer(self._channel)
        async with closing(renderer.stream(config, _blocks(motion))) as frames:
            async for frame in frames:
                yield frame

    # --- inside --------------------------------------------------------------------------------

    def _calls(self) -> OpenCall:
        """Give the way to a gateway: first by the client's own channel, then by new ones.

        A channel to a gateway that is lost would take its time to notice.
        """
        targets = itertools.cycle(self._targets)
        is_first = True

        def open_call(avoid: str) -> Way:
            nonlocal is_first
            target = next(targets)
            if is_first:
                is_first = False
                return Way(target, _converse(self._channel), _nothing_to_close)
            if target == avoid:
                target = next(targets)  # the same one where there is no other
            channel = open_channel(target, tls=self._tls)
            return Way(target, _converse(channel), lambda: channel.close(None))

        return open_call

    @property
    def _channel(self) -> grpc.aio.Channel:
        if self._open_channel is None:
            raise RuntimeError("use the client inside `async with ParlanteClient(...)`")
        return self._open_channel

    @property
    def _avatars(self) -> encoder_pb2_grpc.EncoderServiceStub:
        return encoder_pb2_grpc.EncoderServiceStub(self._channel)  # type: ignore[no-untyped-call]


def _converse(channel: grpc.aio.Channel) -> StartCall:
    stub = gateway_pb2_grpc.GatewayServiceStub(channel)  # type: ignore[no-untyped-call]
    start: StartCall = stub.Converse
    return start


async def _nothing_to_close() -> None:
    pass


def _read_portrait(portrait: Portrait) -> bytes:
    if isinstance(portrait, bytes):
        return portrait
    try:
        return Path(portrait).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"cannot read the portrait {portrait}: {error.strerror or error}",
            reason="PORTRAIT_UNREADABLE",
            field="portrait",
        ) from error


async def _blocks(motion: Float32Array) -> AsyncIterator[MotionBlock]:
    for start in range(0, len(motion), _BLOCK_FRAMES):
        yield MotionBlock(start_frame=start, values=motion[start : start + _BLOCK_FRAMES])


async def _upload(
    config: encoder_pb2.CreateAvatarConfig, data: bytes
) -> AsyncIterator[encoder_pb2.CreateAvatarRequest]:
    yield encoder_pb2.CreateAvatarRequest(config=config)
    for offset in range(0, len(data), _UPLOAD_CHUNK_BYTES):
        chunk = data[offset : offset + _UPLOAD_CHUNK_BYTES]
        yield encoder_pb2.CreateAvatarRequest(chunk=chunk)
