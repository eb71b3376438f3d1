"""The models with other settings of their decoder than those of their repository.

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
from parlante.triton.layout import MAX_CALL_ROWS, MAX_PROCESSES

__all__ = ["DecoderTuning", "tuned_models"]

_MAX_THREADS: Final = 64
_RANGES: Final = {
    "decoder_processes": (1, MAX_PROCESSES),
    "decoder_max_batch": (1, MAX_CALL_ROWS),
    "decoder_threads": (0, _MAX_THREADS),
}
# What stands before each value in the decoder's config.pbtxt.
_PLACES: Final = (
    ("decoder_processes", r"(instance_group \[ \{ count: )\d+"),
    ("decoder_max_batch", r"(max_batch_size: )\d+"),
    ("decoder_max_batch", r'(name: "full"\s+batch_size: )\d+'),
    ("decoder_fuse", r'(key: "FUSE" value \{ string_value: ")\d'),
    ("decoder_threads", r'(key: "DECODE_THREADS" value \{ string_value: ")\d+'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderTuning:
    """Settings of the decoder; variables are PARLANTE_DECODER_..., None = as its repository has it.

    Raises:
        InvalidInput: One is out of range.
    """

    decoder_processes: int | None = field(
        default=None,
        metadata=about("processes of the decoder for each GPU, or on the CPU, 1 to 15"),
    )
    decoder_max_batch: int | None = field(
        default=None, metadata=about("rows of the decoder's largest batch, 1 to 64")
    )
    decoder_fuse: bool | None = field(
        default=None, metadata=about("have torch fuse the pixel work; on a GPU only")
    )
    decoder_threads: int | None = field(
        default=None, metadata=about("threads of each process, to 64; 0 = a core each, 4 at most")
    )

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise InvalidInput(
                    f"{name} must be {least} to {most}; got {value}",
                    reason="BAD_SETTING",
                    field=name,
                )


def tuned_models(repository: Path, folder: Path, tuning: DecoderTuning) -> Path:
    """Give models with other settings of their decoder.

    Args:
        repository: The models.
        folder: For the copy; one that is there is taken as it is.
        tuning: The settings.

    Returns:
        The copy, or the repository itself where nothing is to be changed.

    Raises:
        FailedPrecondition: The configuration of the decoder is not as it is known here.
    """
    changes = [
        (place, int(value))
        for name, place in _PLACES
        if (value := getattr(tuning, name)) is not None
    ]
    if not changes:
        return repository
    if folder.exists():
        return folder
    shutil.copytree(repository, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "decoder" / "config.pbtxt"
    text = path.read_text(encoding="utf-8")
    for place, value in changes:
        text, num_found = re.subn(place, rf"\g<1>{value}", text)
        if num_found != 1:
            raise FailedPrecondition(
                f"the decoder's config.pbtxt must have one {place} to be tuned; got {num_found} "
                f"in {repository}",
                reason="UNKNOWN_MODELS",
            )
    path.write_text(text, encoding="utf-8")
    return folder
