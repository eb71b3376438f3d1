"""Avatars on disk: latents by content key, and the names that point at them.

Everything is written beside its place, flushed and renamed, so that a crash leaves the old or the
new file. What cannot be read back intact counts as absent and is removed. Several processes may
share a folder.

Layout: ``latents/<key>.avatar`` (see `parlante.latent_file`) and ``names/<name>.json``.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

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

__all__ = ["AvatarStore"]

logger = logging.getLogger(__name__)


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
        check_key(key)
        return self._latents_dir / f"{key}.avatar"

    # --- names ---

    def load_info(self, name: str) -> AvatarInfo:
        """Look a name up; raises `NotFound`."""
        check_name(name)
        info = self._read_info(name)
        if info is None:
            raise no_such_name(name)
        return info

    def bind(self, info: AvatarInfo) -> AvatarInfo:
        """Give a name to a key; gives the entry that holds it afterwards.

        A name whose latents another model bundle made is stale, no renderer takes them any more:
        it is given anew.

        Raises:
            AlreadyExists: The name belongs to another key.
            Unavailable: The disk refuses.
        """
        content = pack_info(info)
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
            raise name_taken(info.name)
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
        check_page_size(page_size)
        page: list[AvatarInfo] = []
        for info in self._iterate_infos(after=decode_token(page_token)):
            if len(page) == page_size:
                return page, encode_token(page[-1].name)
            page.append(info)
        return page, ""

    def _iterate_infos(self, *, after: str) -> Iterator[AvatarInfo]:
        names = sorted(path.stem for path in self._names_dir.glob("*.json"))
        for name in names:
            if name > after and is_name(name):
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
        info = unpack_info(name, content)
        if info is not None:
            return info
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
