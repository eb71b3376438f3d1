"""Loading and unloading the models of a Triton server, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

from tritonclient.utils import InferenceServerException

from parlante.triton.faults import fault_from

__all__ = ["CHANNEL_OPTIONS", "load_if_absent", "reload", "translated"]

_TIMEOUT_S: Final = 60.0
_UNLOAD_S: Final = 1.0
# A server that comes back is noticed soon; gRPC's own back-off would grow to two minutes.
CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", 128 * 1024 * 1024),
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


async def reload(client: Any, model: str) -> None:
    """Unload and load a model: what brings back one whose process has died.

    Raises:
        TritonFault: The server refuses; it must run with ``--model-control-mode=explicit``.
    """
    with translated():
        # Loading alone does nothing while the server thinks that it is loaded.
        await client.unload_model(model, client_timeout=_TIMEOUT_S)
        await _until_unloaded(client, model)
        await client.load_model(model, client_timeout=_TIMEOUT_S)


async def load_if_absent(client: Any, model: str) -> None:
    """Load a model that was not loaded with the server; raises `TritonFault`."""
    with translated():
        if not {"READY", "LOADING"} & set(await _states_of(client, model)):
            await client.load_model(model, client_timeout=_TIMEOUT_S)


async def _until_unloaded(client: Any, model: str) -> None:
    """Wait a little: a model whose process has died stays UNLOADING for ever."""
    until_s = asyncio.get_running_loop().time() + _UNLOAD_S
    while asyncio.get_running_loop().time() < until_s:
        if not {"READY", "UNLOADING", "LOADING"} & set(await _states_of(client, model)):
            return
        await asyncio.sleep(0.05)


async def _states_of(client: Any, model: str) -> list[str]:
    index = await client.get_model_repository_index(client_timeout=_TIMEOUT_S)
    return [entry.state for entry in index.models if entry.name == model]


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of tritonclient, which carry texts more than codes, into `TritonFault`."""
    try:
        yield
    except InferenceServerException as error:
        status = str(error.status() or "").removeprefix("StatusCode.")
        raise fault_from(status, str(error.message() or "")) from None
