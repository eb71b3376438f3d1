"""JSON lines without the content of media."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import numpy as np
import pytest

from parlante.errors import InvalidInput
from parlante.logs import LEVEL_VARIABLE, configure_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    stream = io.StringIO()
    configure_logging("debug", stream=stream)
    yield stream
    root.handlers, root.level = handlers, level


def test_record_is_one_json_line_with_its_extras(lines: io.StringIO) -> None:
    logging.getLogger("parlante.x").info("served %d", 3, extra={"port": 50, "ratio": 0.5})
    entry = json.loads(lines.getvalue())
    assert entry["message"] == "served 3"
    assert (entry["level"], entry["logger"]) == ("info", "parlante.x")
    assert (entry["port"], entry["ratio"]) == (50, 0.5)


def test_media_become_their_size(lines: io.StringIO) -> None:
    extra = {"image": b"\xff\xd8secret", "samples": np.zeros(4, np.int16), "parts": [b"abc"]}
    logging.getLogger("x").warning("odd", extra=extra)
    entry = json.loads(lines.getvalue())
    assert entry["image"] == "<8 bytes>"
    assert entry["samples"] == "<array of 8 bytes>"
    assert entry["parts"] == ["<3 bytes>"]


def test_long_text_is_cut(lines: io.StringIO) -> None:
    logging.getLogger("x").warning("odd", extra={"text": "y" * 10_000})
    assert len(json.loads(lines.getvalue())["text"]) == 500


def test_exception_is_in_the_entry(lines: io.StringIO) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("x").exception("failed")
    assert "ValueError: boom" in json.loads(lines.getvalue())["exception"]


def test_level_comes_from_the_environment(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEVEL_VARIABLE, "warning")
    configure_logging(stream=lines)
    logging.getLogger("x").info("not this")
    assert lines.getvalue() == ""


def test_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match=LEVEL_VARIABLE):
        configure_logging("loud")
