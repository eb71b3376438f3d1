"""Avatars on disk: latents by content key, and the names that point at them.

Everything is written beside its place, flushed and renamed, so that a crash leaves the old or the
new file. What cannot be read back intact counts as absent and is removed. Several processes may
share a folder.

Layout: ``latents/<key>.avatar`` (see `parlante.latent_file`) and ``names/<name>.json``.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from parlante.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from parlante.latent_file import DAMAGE, pack_latents, unpack_latents
from parlante.types import AvatarInfo, AvatarLatents, Framing

__all__ = ["AvatarStore", "check_name", "is_content_key"]

logger = logging.getLogger(__name__)

MAX_PAGE_SIZE: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY: Final = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> None:
    """Raise `InvalidInput` unless `name` is a DNS label of at most 63 characters."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "an avatar's name must be 1 to 63 characters a-z, 0-9 and '-', with a letter or digit "
            f"at both ends; got {name[:80]!r}; choose another, or none to have one made",
            reason="BAD_AVATAR_NAME",
            field="name",
        )


def is_content_key(key: str) -> bool:
    """Tell whether a string is a hex SHA-256; anything else never reaches a path."""
    return _KEY.fullmatch(key) is not None


class AvatarStore:
    """Latents and names in a folder; blocking, so call it from a worker thread.

    Args:
        directory: The folder; made if absent.

    Raises:
        Unavailable: The folder cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self._latents_dir = directory / "latents"
        self._names_dir = directory / "names"
        try:
            self._latents_dir.mkdir(parents=True, exist_ok=True)
            self._names_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(error) from error

    # --- latents ---

    def has_latents(self, key: str) -> bool:
        """Tell whether there is a file for a key, intact or not."""
        return self._latents_path(key).exists()

    def load_latents(self, key: str) -> AvatarLatents | None:
        """Read latents; None when there are none, or they are damaged (then they are removed)."""
        path = self._latents_path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:  # a volume that is away for a moment has lost nothing
            extra = {"avatar_key": key, "error": error.strerror}
            logger.warning("latents cannot be read; taken as absent", extra=extra)
            return None
        try:
            return unpack_latents(key, content)
        except DAMAGE:
            logger.warning("damaged latents removed", extra={"avatar_key": key})
            path.unlink(missing_ok=True)
            return None

    def save_latents(self, latents: AvatarLatents) -> None:
        """Write latents; raises `Unavailable` when the disk refuses."""
        _write_atomically(self._latents_path(latents.key), pack_latents(latents))

    def _latents_path(self, key: str) -> Path:
        if not is_content_key(key):
            raise NotFound(
                "an avatar's key is 64 hex digits; got something else; list the avatars",
                reason="AVATAR_NOT_FOUND",
            )
        return self._latents_dir / f"{key}.avatar"

    # --- names ---

    def load_info(self, name: str) -> AvatarInfo:
        """Look a name up; raises `NotFound`."""
        check_name(name)
        info = self._read_info(name)
        if info is None:
            raise NotFound(
                f"there is no avatar named {name!r}; create it, or list the avatars",
                reason="AVATAR_NOT_FOUND",
                field="name",
            )
        return info

    def bind(self, info: AvatarInfo) -> AvatarInfo:
        """Give a name to a key; gives the entry that holds it afterwards.

        A name whose latents another model bundle made is stale, no renderer takes them any more:
        it is given anew.

        Raises:
            AlreadyExists: The name belongs to another key.
            Unavailable: The disk refuses.
        """
        content = json.dumps(asdict(replace(info, from_cache=False))).encode()
        path = self._name_path(info.name)
        holder = self._read_info(info.name)
        if holder is None:
            if _write_atomically(path, content, must_be_new=True):
                return info
            holder = self._read_info(info.name)  # another process was faster
        if holder is not None and holder.bundle_digest != info.bundle_digest:
            _write_atomically(path, content)
            return info
        if holder is None or holder.key != info.key:
            raise AlreadyExists(
                f"the name {info.name!r} belongs to another portrait; choose another name, or "
                "delete that avatar first",
                reason="AVATAR_NAME_TAKEN",
                field="name",
            )
        return holder

    def unbind(self, name: str) -> tuple[str, bool]:
        """Forget a name, and its latents when no other name uses them.

        Returns:
            The key, and whether its latents were removed.

        Raises:
            NotFound: There is no such name.
        """
        key = self.load_info(name).key
        self._name_path(name).unlink(missing_ok=True)
        if any(info.key == key for info in self._iterate_infos(after="")):
            return key, False
        self._latents_path(key).unlink(missing_ok=True)
        return key, True

    def list_infos(self, *, page_size: int, page_token: str) -> tuple[list[AvatarInfo], str]:
        """List by name; gives a page and the token of the next ("" at the end).

        Raises:
            InvalidInput: The page size or token is not valid.
        """
        if not 1 <= page_size <= MAX_PAGE_SIZE:
            raise InvalidInput(
                f"page_size must be in [1, {MAX_PAGE_SIZE}]; got {page_size}",
                reason="BAD_PAGE_SIZE",
                field="page_size",
            )
        page: list[AvatarInfo] = []
        for info in self._iterate_infos(after=_decode_token(page_token)):
            if len(page) == page_size:
                return page, _encode_token(page[-1].name)
            page.append(info)
        return page, ""

    def _iterate_infos(self, *, after: str) -> Iterator[AvatarInfo]:
        names = sorted(path.stem for path in self._names_dir.glob("*.json"))
        for name in names:
            if name > after and _NAME.fullmatch(name):
                info = self._read_info(name)
                if info is not None:
                    yield info

    def _name_path(self, name: str) -> Path:
        check_name(name)
        return self._names_dir / f"{name}.json"

    def _read_info(self, name: str) -> AvatarInfo | None:
        path = self._name_path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            entry = json.loads(content)
            # Entries of version 0.1.0 have none.
            framing = Framing(entry.pop("framing", Framing.HEAD.value))
            info = AvatarInfo(**entry, framing=framing)
            if info.name == name and is_content_key(info.key):
                return info
        except (ValueError, TypeError, AttributeError):
            pass
        logger.warning("damaged name entry removed", extra={"avatar_name": name})
        path.unlink(missing_ok=True)
        return None


def _write_atomically(path: Path, content: bytes, *, must_be_new: bool = False) -> bool:
    """Write, flush and put in place; False when it must be new and is there already."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            temporary = Path(part.name)
            try:
                part.write(content)
                part.flush()
                os.fsync(part.fileno())
                if must_be_new:
                    path.hardlink_to(temporary)  # unlike a rename, fails when the target exists
                    temporary.unlink()
                else:
                    temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(error) from error
    return True


def _unwritable(error: OSError) -> Unavailable:
    return Unavailable(
        f"the avatar store must be writable; the disk says: {error.strerror}; free space or "
        "correct its permissions, then try again",
        reason="STORE_UNWRITABLE",
        retry_after_ms=5000,
    )


def _encode_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decode_token(token: str) -> str:
    try:
        name = base64.urlsafe_b64decode(token.encode("ascii")).decode()
    except (binascii.Error, UnicodeError):
        name = "?"
    if token and not _NAME.fullmatch(name):
        raise InvalidInput(
            "page_token must be one that list gave, or empty for the first page; got another",
            reason="BAD_PAGE_TOKEN",
            field="page_token",
        )
    return name
