"""Where a renderer decodes frames, by the names that settings and commands use."""

from __future__ import annotations

from typing import Final

IN_PROCESS: Final = "inprocess"
TRITON: Final = "triton"
