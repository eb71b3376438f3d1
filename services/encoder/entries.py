"""What every store of avatars shares: its interface, and how names and pages are written."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import asdict, replace
from typing import Final, Protocol

from parlante.errors import AlreadyExists, InvalidInput, NotFound
from parlante.types import AvatarInfo, AvatarLatents, Framing

__all__ = [
    "AvatarRepository",
    "check_key",
    "check_name",
    "check_page_size",
    "decode_token",
    "encode_token",
    "is_content_key",
    "is_name",
    "name_taken",
    "no_such_name",
    "pack_info",
    "unpack_info",
]

MAX_PAGE_SIZE: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class AvatarRepository(Protocol):
    """Latents by content key, and the names that point at them; blocking, for worker threads.

    The truth of a fleet: what cannot be written is an error. What cannot be read back intact counts
    as absent. Several processes may share one.
    """

    def has_latents(self, key: str) -> bool:
        """Tell whether there is something for a key, intact or not."""
        ...

    def load_latents(self, key: str) -> AvatarLatents | None:
        """Read latents; None when there are none, or they are damaged (then they are removed)."""
        ...

    def save_latents(self, latents: AvatarLatents) -> None:
        """Write latents; raises `Unavailable` when the store refuses."""
        ...

    def load_info(self, name: str) -> AvatarInfo:
        """Look a name up; raises `NotFound`."""
        ...

    def bind(self, info: AvatarInfo) -> AvatarInfo:
        """Give a name to a key; gives the entry that holds it afterwards.

        A name whose latents another model bundle made is stale, no renderer takes them any more:
        it is given anew.

        Raises:
            AlreadyExists: The name belongs to another key.
            Unavailable: The store refuses.
        """
        ...

    def unbind(self, name: str) -> tuple[str, bool]:
        """Forget a name, and its latents when no other name uses them.

        Returns:
            The key, and whether its latents were removed.

        Raises:
            NotFound: There is no such name.
        """
        ...

    def list_infos(self, *, page_size: int, page_token: str) -> tuple[list[AvatarInfo], str]:
        """List by name; gives a page and the token of the next ("" at the end).

        Raises:
            InvalidInput: The page size or token is not valid.
        """
        ...


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


def is_name(name: str) -> bool:
    """Tell whether a string is an avatar's name."""
    return _NAME.fullmatch(name) is not None


def check_key(key: str) -> None:
    """Raise `NotFound` for what is no content key."""
    if not is_content_key(key):
        raise NotFound(
            "an avatar's key is 64 hex digits; got something else; list the avatars",
            reason="AVATAR_NOT_FOUND",
        )


def no_such_name(name: str) -> NotFound:
    """Make the error for a name that nobody holds."""
    return NotFound(
        f"there is no avatar named {name!r}; create it, or list the avatars",
        reason="AVATAR_NOT_FOUND",
        field="name",
    )


def name_taken(name: str) -> AlreadyExists:
    """Make the error for a name that another key holds."""
    return AlreadyExists(
        f"the name {name!r} belongs to another portrait; choose another name, or delete that "
        "avatar first",
        reason="AVATAR_NAME_TAKEN",
        field="name",
    )


def pack_info(info: AvatarInfo) -> bytes:
    """Write the entry of a name."""
    return json.dumps(asdict(replace(info, from_cache=False))).encode()


def unpack_info(name: str, content: bytes) -> AvatarInfo | None:
    """Read the entry of a name; None when it is damaged or another's."""
    try:
        entry = json.loads(content)
        # Entries of version 0.1.0 have none.
        framing = Framing(entry.pop("framing", Framing.HEAD.value))
        info = AvatarInfo(**entry, framing=framing)
        return info if info.name == name and is_content_key(info.key) else None
    except (ValueError, TypeError, AttributeError):
        return None


def check_page_size(page_size: int) -> None:
    """Raise `InvalidInput` for a page that is empty or too large."""
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidInput(
            f"page_size must be in [1, {MAX_PAGE_SIZE}]; got {page_size}",
            reason="BAD_PAGE_SIZE",
            field="page_size",
        )


def encode_token(name: str) -> str:
    """Make the token of the page after a name."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """Give the name that a page goes on after, "" for the first; raises `InvalidInput`."""
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
