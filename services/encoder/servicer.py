"""The encoder service: checks and converts messages around the encoder port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from parlante import convert
from parlante.errors import Expired, InvalidInput
from parlante.ports import Encoder
from parlante.rpc.envelope import duplicate_config, kind_of, read_config
from parlante.rpc.latents import latent_messages
from parlante.rpc.server import Service
from parlante.rpc.slots import Slots
from parlante.v1 import encoder_pb2, encoder_pb2_grpc

SERVICE_NAME = encoder_pb2.DESCRIPTOR.services_by_name["EncoderService"].full_name
MAX_UPLOAD_BYTES: Final = 20 * 1024 * 1024
MAX_CHUNK_BYTES: Final = 1024 * 1024


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Serves `parlante.v1.EncoderService`.

    Args:
        encoder: What makes and keeps the avatars.
        slots: Uploads and encodings at once; each may hold a whole portrait in memory.
        upload_timeout_s: Time for an upload, so that a trickle does not hold a slot.
    """

    def __init__(self, encoder: Encoder, *, slots: Slots, upload_timeout_s: float = 30.0) -> None:
        self._encoder = encoder
        self._slots = slots
        self._upload_timeout_s = upload_timeout_s

    async def CreateAvatar(  # noqa: N802 (name of the rpc)
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> encoder_pb2.CreateAvatarResponse:
        """Take a portrait in chunks, encode it or find it."""
        with self._slots.hold():
            config = await read_config(request_iterator)
            selection = convert.face_selection_from_proto(
                config.face_choice, config.face_index, config.framing
            )
            name = convert.check_name(config.name, field="config.name") if config.name else ""
            image = await _read_upload(request_iterator, timeout_s=self._upload_timeout_s)
            info = await self._encoder.create(image, name=name, selection=selection)
        return encoder_pb2.CreateAvatarResponse(
            avatar=convert.avatar_to_proto(info), from_cache=info.from_cache
        )

    async def GetAvatar(  # noqa: N802 (name of the rpc)
        self, request: encoder_pb2.GetAvatarRequest, context: Any
    ) -> encoder_pb2.GetAvatarResponse:
        """Look an avatar up."""
        info = await self._encoder.get(convert.check_name(request.name))
        return encoder_pb2.GetAvatarResponse(avatar=convert.avatar_to_proto(info))

    async def ListAvatars(  # noqa: N802 (name of the rpc)
        self, request: encoder_pb2.ListAvatarsRequest, context: Any
    ) -> encoder_pb2.ListAvatarsResponse:
        """List avatars, a page at a time."""
        page, token = await self._encoder.list(
            page_size=convert.page_size_from_proto(request.page_size),
            page_token=request.page_token,
        )
        avatars = [convert.avatar_to_proto(info) for info in page]
        return encoder_pb2.ListAvatarsResponse(avatars=avatars, next_page_token=token)

    async def DeleteAvatar(  # noqa: N802 (name of the rpc)
        self, request: encoder_pb2.DeleteAvatarRequest, context: Any
    ) -> encoder_pb2.DeleteAvatarResponse:
        """Forget an avatar."""
        await self._encoder.delete(convert.check_name(request.name))
        return encoder_pb2.DeleteAvatarResponse()

    async def FetchLatents(  # noqa: N802 (name of the rpc)
        self, request: encoder_pb2.FetchLatentsRequest, context: Any
    ) -> None:
        """Send an avatar's latents in chunks."""
        latents = await self._encoder.latents(convert.check_key(request.key))
        for message in latent_messages(latents):
            await context.write(message)


async def _read_upload(requests: AsyncIterator[Any], *, timeout_s: float) -> bytes:
    data = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for request in requests:
                data += _chunk_of(request)
                if len(data) > MAX_UPLOAD_BYTES:
                    raise _too_large("IMAGE_TOO_LARGE", MAX_UPLOAD_BYTES, len(data))
    except TimeoutError:
        raise Expired(
            f"an upload must be complete within {timeout_s:g} s; got {len(data)} bytes so far",
            reason="UPLOAD_TIMEOUT",
        ) from None
    return bytes(data)


def _chunk_of(request: encoder_pb2.CreateAvatarRequest) -> bytes:
    if kind_of(request) == "config":
        raise duplicate_config()
    if not request.chunk:
        raise InvalidInput("a chunk has at least one byte", reason="EMPTY_MESSAGE", field="chunk")
    if len(request.chunk) > MAX_CHUNK_BYTES:
        raise _too_large("CHUNK_TOO_LARGE", MAX_CHUNK_BYTES, len(request.chunk))
    return request.chunk


def _too_large(reason: str, limit: int, got: int) -> InvalidInput:
    return InvalidInput(f"at most {limit} bytes; got {got}", reason=reason, field="chunk")


def encoder_service(servicer: EncoderServicer) -> Service:
    """Make the service of a servicer, for `RpcServer`."""
    add: Any = encoder_pb2_grpc.add_EncoderServiceServicer_to_server
    return Service(SERVICE_NAME, lambda server: add(servicer, server))
