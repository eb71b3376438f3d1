"""Weights that are fetched once: whole, checked, and not again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from parlante.cli import ctl
from parlante.errors import InvalidInput, Unavailable
from parlante.fleet.model_files import ModelFile, fetch, read_list

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked: list[str] = self.server.asked  # type: ignore[attr-defined]
        asked.append(self.path)
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if self.path == "/short" else CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _file(server: ThreadingHTTPServer, path: str = "/good", digest: str = DIGEST) -> ModelFile:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    return ModelFile(digest=digest, name="motion/weights.bin", url=url)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    assert fetch(_file(server), tmp_path)
    assert not fetch(_file(server), tmp_path)
    assert server.asked == ["/good"]  # type: ignore[attr-defined]
    assert _files(tmp_path) == [tmp_path / "motion/weights.bin"]
    assert (tmp_path / "motion/weights.bin").read_bytes() == CONTENT
    (tmp_path / "motion/weights.bin").write_bytes(b"spoilt")
    assert fetch(_file(server), tmp_path)
    assert (tmp_path / "motion/weights.bin").read_bytes() == CONTENT


def test_what_is_not_as_listed_gets_no_name(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        fetch(_file(server, digest="0" * 64), tmp_path)
    assert refused.value.reason == "MODEL_CORRUPT"
    assert _files(tmp_path) == []


@pytest.mark.parametrize("path", ["/absent", "/short"])
def test_what_does_not_come_leaves_what_was_there(
    server: ThreadingHTTPServer, path: str, tmp_path: Path
) -> None:
    old = tmp_path / "motion/weights.bin"
    old.parent.mkdir()
    old.write_bytes(b"of before")
    with pytest.raises((Unavailable, InvalidInput)):
        fetch(_file(server, path), tmp_path)
    assert _files(tmp_path) == [old]
    assert old.read_bytes() == b"of before"


@pytest.mark.parametrize(
    "line",
    [
        "abc weights.bin https://x/y",
        f"{DIGEST} ../weights.bin https://x/y",
        f"{DIGEST} /weights.bin https://x/y",
        f"{DIGEST} weights.bin file:///etc/passwd",
        f"{DIGEST} weights.bin",
        f"{DIGEST} a https://x/y\n{DIGEST} a https://x/z",
    ],
)
def test_lists_that_say_something_else_are_refused(line: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_list(line)
    assert refused.value.reason == "BAD_MODEL_LIST"


def test_the_command_fetches_a_list(
    server: ThreadingHTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(server)
    listed = tmp_path / "models.txt"
    listed.write_text(f"# weights\n\n{file.digest} {file.name} {file.url}\n")
    arguments = ("fetch", "--list", str(listed), "--to", str(tmp_path / "models"))
    assert ctl.main(arguments) == 0
    assert ctl.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "motion/weights.bin: fetched",
        "motion/weights.bin: there already",
    ]
    assert ctl.main(("fetch", "--list", str(tmp_path / "none"), "--to", str(tmp_path))) == 2
