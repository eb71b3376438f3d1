"""Weights that are in no image, fetched once into a folder that pods share.

A list says what must be there: a line per file, its SHA-256, its name below the folder and where it
comes from. A file whose content is right is left alone, so that many pods may fetch at once and a
pod that starts again fetches nothing; what comes is checked before it gets its name.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from parlante.errors import InvalidInput, Unavailable

__all__ = ["ModelFile", "fetch", "read_list"]

logger = logging.getLogger(__name__)

_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 30.0  # without a byte
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SCHEMES: Final = ("https://", "http://")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One line of a list.

    Attributes:
        digest: SHA-256 of the content, in lower-case hex.
        name: Path below the folder, with slashes.
        url: Where it comes from, https or http.
    """

    digest: str
    name: str
    url: str


def read_list(text: str) -> list[ModelFile]:
    """Read a list; empty lines and those that begin with # say nothing.

    Raises:
        InvalidInput: BAD_MODEL_LIST, with the number of the line.
    """
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    files = [_file(number, words) for number, words in lines if words and words[0][0] != "#"]
    names = [file.name for file in files]
    if len(names) != len(set(names)):
        raise _bad_list("every name once", "a name twice")
    return files


def fetch(file: ModelFile, folder: Path) -> bool:
    """Put a file into a folder unless it is there; False when it was.

    Raises:
        Unavailable: MODEL_NOT_FETCHED, it did not come; trying again may help.
        InvalidInput: MODEL_CORRUPT, what came is not what the list says.
    """
    path = folder / file.name
    if path.is_file() and _digest_of(path) == file.digest:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as target:
            found = _download(file.url, target)
            os.fchmod(target.fileno(), 0o644)  # for readers of other users
        if found != file.digest:
            raise InvalidInput(
                f"{file.name} must have the SHA-256 {file.digest}; {file.url} gave {found}",
                reason="MODEL_CORRUPT",
                field="list",
            )
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    logger.info("model file fetched", extra={"file": file.name, "bytes": path.stat().st_size})
    return True


def _download(url: str, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(
            f"{url} did not give the file: {error}; check the list and the network policy",
            reason="MODEL_NOT_FETCHED",
        ) from error
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(number: int, words: list[str]) -> ModelFile:
    if len(words) != 3:
        raise _bad_list("SHA256 NAME URL", f"{len(words)} words in line {number}")
    digest, name, url = words
    if not _DIGEST.fullmatch(digest):
        raise _bad_list("64 lower-case hex digits", f"{digest[:80]!r} in line {number}")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.name.startswith("."):
        raise _bad_list("a name below the folder", f"{name[:80]!r} in line {number}")
    if not url.startswith(_SCHEMES):
        raise _bad_list("an https or http URL", f"{url[:80]!r} in line {number}")
    return ModelFile(digest=digest, name=name, url=url)


def _bad_list(expected: str, got: str) -> InvalidInput:
    return InvalidInput(
        f"a list of models has {expected}; got {got}", reason="BAD_MODEL_LIST", field="list"
    )
