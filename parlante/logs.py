"""Structured logs: one JSON object a line on stderr, never the content of media.

gRPC's core writes lines of its own there; ``GRPC_VERBOSITY=NONE``, set before the process starts,
turns them off.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opentelemetry import trace

from parlante.errors import InvalidInput

LEVEL_VARIABLE: Final = "PARLANTE_LOG_LEVEL"
MAX_TEXT_CHARS: Final = 500
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON: time, level, logger, message, trace, `extra`, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record as one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry["trace_id"] = trace.format_trace_id(span.trace_id)
        for name, value in vars(record).items():
            if name not in _STANDARD:
                entry[name] = _plain(value)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Make a value fit for a log: media become their size, long texts are cut."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if hasattr(value, "nbytes"):
        return f"<array of {value.nbytes} bytes>"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)[:MAX_TEXT_CHARS]


def configure_logging(level: str | None = None, *, stream: TextIO | None = None) -> None:
    """Send the logs of the process to `stream` (stderr) as JSON lines.

    Args:
        level: debug, info, warning or error; None takes ``PARLANTE_LOG_LEVEL``, else info.
        stream: Where to write.

    Raises:
        InvalidInput: The level is unknown.
    """
    name = (level or os.environ.get(LEVEL_VARIABLE) or "info").upper()
    if name not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise InvalidInput(
            f"{LEVEL_VARIABLE} must be debug, info, warning or error; got {name[:40]!r}",
            reason="BAD_SETTING",
            field=LEVEL_VARIABLE,
        )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=name, handlers=[handler], force=True)
