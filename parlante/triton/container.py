"""Start the official container's server: ``python3 -m parlante.triton.container FLAGS``.

It serves our models with the decoder set as the variables PARLANTE_DECODER_... say
(`parlante.triton.tuning`). Flags of ``tritonserver`` are given through. The process becomes the
server, so signals reach it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from parlante.errors import ParlanteError
from parlante.settings import load
from parlante.triton.installation import repository_dir
from parlante.triton.server import MODEL_FLAGS
from parlante.triton.tuning import DecoderTuning, tuned_models

__all__ = ["main"]

SERVER = "tritonserver"


def main(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    become: Callable[[str, list[str]], object] = os.execvp,
) -> int:
    """Write the models and become the server; gives an exit status only if that fails.

    Args:
        argv: Further flags of the server.
        env: Variables; None takes those of the process.
        become: Replaces this process, as `os.execvp`.
    """
    try:
        tuning = load(DecoderTuning, [], env=env)
        folder = Path(tempfile.mkdtemp(prefix="parlante-models-")) / "models"
        models = tuned_models(repository_dir(), folder, tuning)
        become(SERVER, [SERVER, f"--model-repository={models}", *MODEL_FLAGS, *argv])
    except (ParlanteError, OSError) as error:
        print(f"parlante-triton: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
