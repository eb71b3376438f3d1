"""The models with other settings of their decoder than the committed ones.

What is committed serves a CPU and, slowly, a GPU: one decoder process. A GPU wants several, as one
Python interpreter cannot feed it (docs/triton.md), and that cannot be said in a configuration that
is right for both. So a server may be started on a copy of the models with settings of its own.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.settings import about

__all__ = ["DecoderTuning", "write_models"]

_MAX_PROCESSES: Final = 15
_MAX_BATCH: Final = 64
_MAX_THREADS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderTuning:
    """Settings of the decoder; variables are PARLANTE_DECODER_...

    Raises:
        InvalidInput: One is out of range.
    """

    decoder_processes: int = field(
        default=1, metadata=about("processes of the decoder for each GPU, or on the CPU, 1 to 15")
    )
    decoder_max_batch: int = field(
        default=8, metadata=about("rows of the decoder's largest batch, 1 to 64")
    )
    decoder_fuse: bool = field(
        default=False, metadata=about("have torch fuse the pixel work; on a GPU only")
    )
    decoder_threads: int = field(
        default=0, metadata=about("threads of each process, to 64; 0 = a core each, 4 at most")
    )

    def __post_init__(self) -> None:
        for name, least, most in (
            ("decoder_processes", 1, _MAX_PROCESSES),
            ("decoder_max_batch", 1, _MAX_BATCH),
            ("decoder_threads", 0, _MAX_THREADS),
        ):
            if not least <= (value := getattr(self, name)) <= most:
                raise InvalidInput(
                    f"{name} must be {least} to {most}; got {value}", reason="BAD_SETTING",
                    field=name,
                )  # fmt: skip


def write_models(source: Path, target: Path, tuning: DecoderTuning) -> None:
    """Copy a model repository with other settings of its decoder.

    Args:
        source: The repository.
        target: New folder.
        tuning: The settings.

    Raises:
        FailedPrecondition: The configuration of the decoder is not as it is known here.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    path = target / "decoder" / "config.pbtxt"
    text = path.read_text(encoding="utf-8")
    for pattern, value in (
        (r"(instance_group \[ \{ count: )\d+", tuning.decoder_processes),
        (r"(max_batch_size: )\d+", tuning.decoder_max_batch),
        (r'(name: "full"\s+batch_size: )\d+', tuning.decoder_max_batch),
        (r'(key: "FUSE" value \{ string_value: ")\d', int(tuning.decoder_fuse)),
        (r'(key: "DECODE_THREADS" value \{ string_value: ")\d+', tuning.decoder_threads),
    ):
        text, num_found = re.subn(pattern, rf"\g<1>{value}", text)
        if num_found != 1:
            raise FailedPrecondition(
                f"the decoder's config.pbtxt must have one {pattern} to be tuned; got {num_found} "
                f"in {source}",
                reason="UNKNOWN_MODELS",
            )
    path.write_text(text, encoding="utf-8")
