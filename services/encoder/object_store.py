"""Avatars in an object store that speaks S3: the truth of a fleet without a shared volume.

Nothing is ever half there: objects are put whole, latents and new names only where nothing is yet
(If-None-Match), names that change only over what was read (If-Match). Latents are believed after
their own checksum and key, as everywhere. Every request is bounded in time, and every answer in
size before it is read.

Layout below the prefix: ``latents/<key>.avatar`` (see `parlante.latent_file`), ``names/<name>``,
and ``refs/<key>/<name>``, empty, so that nobody reads all names to learn whether a key has one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PreconditionError,
)
from obstore.store import S3Store

from parlante.errors import Unavailable
from parlante.latent_file import DAMAGE, pack_latents, unpack_latents
from parlante.types import AvatarInfo, AvatarLatents
from services.encoder.entries import (
    check_key,
    check_name,
    check_page_size,
    decode_token,
    encode_token,
    is_name,
    name_taken,
    no_such_name,
    pack_info,
    unpack_info,
)

__all__ = ["ObjectStore"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_LATENTS_BYTES: Final = 64 * 1024 * 1024
MAX_ENTRY_BYTES: Final = 16 * 1024
DEFAULT_REGION: Final = "us-east-1"
CONNECT_TIMEOUT_S: Final = 2.0
REQUEST_TIMEOUT_S: Final = 10.0
_RETRY_TIMEOUT_S: Final = 15.0
_MAX_RETRIES: Final = 3
_RETRY_AFTER_MS: Final = 5000
_MAX_TRIES: Final = 3  # to change a name that others change at the same time
_LIST_CHUNK: Final = 100
_READERS: Final = 16  # entries of a page that are read at once


@dataclass(frozen=True, slots=True)
class _Entry:
    """The entry of a name as it is stored; `info` is None when it is damaged."""

    e_tag: str
    info: AvatarInfo | None


class ObjectStore:
    """Implements `AvatarRepository` over a bucket. Keys and tokens come from the AWS environment.

    Args:
        url: ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.
        endpoint: ``https://HOST[:PORT]`` of a server that is not Amazon's; "" for Amazon's.
            ``http://`` is taken as well, for a server on the same machine or network.
        region: Of the bucket; "" takes the environment's, or else us-east-1.
        request_timeout_s: Time for one request; some are tried again, for 15 s in all.

    Raises:
        Unavailable: STORE_UNREACHABLE, the bucket cannot be listed.
    """

    def __init__(
        self,
        url: str,
        *,
        endpoint: str = "",
        region: str = "",
        request_timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        config: dict[str, Any] = {"checksum_algorithm": "SHA256"}
        if endpoint:
            config["endpoint"] = endpoint
        config["region"] = region or _environment_region() or DEFAULT_REGION
        self._store = S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            config=config,  # type: ignore[arg-type]
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
                "timeout": timedelta(seconds=request_timeout_s),
            },
            retry_config={
                "max_retries": _MAX_RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_TIMEOUT_S),
            },
        )
        with _reading("the bucket"):
            next(iter(obstore.list(self._store, "names/", chunk_size=1)), None)

    # --- latents ---

    def has_latents(self, key: str) -> bool:
        """Tell whether there is an object for a key, intact or not."""
        with _reading("latents"):
            return _unless_absent(lambda: obstore.head(self._store, _latents_path(key))) is not None

    def load_latents(self, key: str) -> AvatarLatents | None:
        """Read latents; None when there are none, or they are damaged (then they are removed)."""
        path = _latents_path(key)
        try:
            content = self._read(path, MAX_LATENTS_BYTES)
            if content is None:
                return None
            return unpack_latents(key, content[0], key_required=True)
        except BaseError as error:  # a store that is away for a moment has lost nothing
            _log("latents cannot be read; taken as absent", error, avatar_key=key)
            return None
        except DAMAGE:
            logger.warning("damaged latents removed", extra={"avatar_key": key})
        try:
            obstore.delete(self._store, path)
        except BaseError as error:
            _log("damaged latents cannot be removed", error, avatar_key=key)
        return None

    def save_latents(self, latents: AvatarLatents) -> None:
        """Write latents where none are; raises `Unavailable` when the store refuses."""
        path, content = _latents_path(latents.key), pack_latents(latents)
        with _writing():
            # Who finds some there has others to thank who made the same, unless they are damaged;
            # then they are gone now.
            for _ in range(_MAX_TRIES):
                if self._create(path, content) or self.load_latents(latents.key) is not None:
                    return
        raise _unwritable()

    # --- names ---

    def load_info(self, name: str) -> AvatarInfo:
        """Look a name up; raises `NotFound`, or `Unavailable` while the store is away."""
        check_name(name)
        with _reading("names"):
            entry = self._read_entry(name)
        if entry is None or entry.info is None:
            raise no_such_name(name)
        return entry.info

    def bind(self, info: AvatarInfo) -> AvatarInfo:
        """Give a name to a key; see `AvatarRepository.bind`."""
        check_name(info.name)
        check_key(info.key)
        with _writing():
            # First: a reference too many keeps latents that nobody needs, one too few loses some.
            self._create(_ref_path(info.key, info.name), b"")
            for _ in range(_MAX_TRIES):
                holder = self._try_bind(info)
                if holder is not None:
                    break
            else:
                raise _unwritable()
            if holder.key != info.key:
                obstore.delete(self._store, _ref_path(info.key, info.name))
                raise name_taken(info.name)
        return holder

    def _try_bind(self, info: AvatarInfo) -> AvatarInfo | None:
        """Give what holds the name now; None when another was faster in changing it."""
        path, content = f"names/{info.name}", pack_info(info)
        if self._create(path, content):
            return info
        entry = self._read_entry(info.name)
        if entry is None:  # gone in between
            return None
        if entry.info is not None and entry.info.bundle_digest == info.bundle_digest:
            return entry.info
        try:
            obstore.put(
                self._store, path, content, mode={"e_tag": entry.e_tag}, use_multipart=False
            )
        except (PreconditionError, NotFoundError):
            return None
        if entry.info is not None and entry.info.key != info.key:
            obstore.delete(self._store, _ref_path(entry.info.key, info.name))
        return info

    def unbind(self, name: str) -> tuple[str, bool]:
        """Forget a name, and its latents when no other uses them; see `AvatarRepository.unbind`.

        A name that another process gives to the key in the same moment may find the latents gone;
        its avatar is then created again.
        """
        key = self.load_info(name).key
        with _writing():
            obstore.delete(self._store, f"names/{name}")
            obstore.delete(self._store, _ref_path(key, name))
            if any(self._paths(f"refs/{key}/", after="")):
                return key, False
            obstore.delete(self._store, _latents_path(key))
        return key, True

    def list_infos(self, *, page_size: int, page_token: str) -> tuple[list[AvatarInfo], str]:
        """List by name; see `AvatarRepository.list_infos`."""
        check_page_size(page_size)
        page: list[AvatarInfo] = []
        last = decode_token(page_token)
        with _reading("names"), ThreadPoolExecutor(_READERS, "encoder-list") as readers:
            names = (path.rpartition("/")[2] for path in self._paths("names/", after=last))
            while wanted := page_size + 1 - len(page):
                batch = [name for _, name in zip(range(wanted), names, strict=False)]
                if not batch:
                    return page, ""
                entries = readers.map(self._read_entry, filter(is_name, batch))
                page += [entry.info for entry in entries if entry is not None and entry.info]
        return page[:page_size], encode_token(page[page_size - 1].name)

    # --- objects ---

    def _read_entry(self, name: str) -> _Entry | None:
        found = self._read(f"names/{name}", MAX_ENTRY_BYTES)
        if found is None:
            return None
        info = unpack_info(name, found[0])
        if info is None:
            logger.warning("damaged name entry; taken as absent", extra={"avatar_name": name})
        return _Entry(found[1], info)

    def _read(self, path: str, max_bytes: int) -> tuple[bytes, str] | None:
        """Give an object and its version; None if there is none, no bytes if it is too large."""
        found = _unless_absent(lambda: obstore.get(self._store, path))
        if found is None:
            return None
        e_tag = found.meta["e_tag"] or ""
        if found.meta["size"] > max_bytes:
            return b"", e_tag
        return bytes(found.bytes()), e_tag

    def _create(self, path: str, content: bytes) -> bool:
        """Put an object where none is; False when there is one."""
        try:
            obstore.put(self._store, path, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def _paths(self, folder: str, *, after: str) -> Iterator[str]:
        """Give the paths in a folder in order, those after a name."""
        offset = f"{folder}{after}" if after else None
        for chunk in obstore.list(self._store, folder, offset=offset, chunk_size=_LIST_CHUNK):
            for item in chunk:
                yield item["path"]


def _environment_region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


def _latents_path(key: str) -> str:
    check_key(key)
    return f"latents/{key}.avatar"


def _ref_path(key: str, name: str) -> str:
    return f"refs/{key}/{name}"


def _unless_absent(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (NotFoundError, FileNotFoundError):
        return None


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        _log(f"{what} cannot be read", error)
        raise Unavailable(
            "the avatar store does not answer; try again in some seconds",
            reason="STORE_UNREACHABLE",
            retry_after_ms=_RETRY_AFTER_MS,
        ) from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BaseError as error:
        _log("the avatar store cannot be written", error)
        raise _unwritable() from error


def _unwritable() -> Unavailable:
    return Unavailable(
        "the avatar store must be writable; the object store refuses or does not answer; check its "
        "credentials and its space, then try again",
        reason="STORE_UNWRITABLE",
        retry_after_ms=_RETRY_AFTER_MS,
    )


def _log(message: str, error: Exception, **extra: str) -> None:
    logger.warning(message, extra={**extra, "error": type(error).__name__})
