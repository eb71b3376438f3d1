"""Render every combination of components that makes sense, and hold all of them to the rules.

Usage: python -m tests.deploy.every_combination [--limit N]

Over two thousand of them take a quarter of an hour on free cores; --limit takes so many at random.
tests/deploy/test_manifests.py takes those with few and with most components.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.deploy.checks import check
from tests.deploy.rendered import combinations, combined


def main() -> int:
    """Entry point; returns 1 when a combination breaks a rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    begin_s, bad = time.monotonic(), []
    todo = list(combinations())
    random.Random(0).shuffle(todo)  # what is wrong with one is wrong with its neighbours
    todo = todo[: args.limit]
    with tempfile.TemporaryDirectory() as folder:
        for number, combination in enumerate(todo, 1):
            try:
                check(combined(combination, Path(folder)), frozenset(combination))
            except AssertionError as error:
                bad.append(combination)
                print(f"{' + '.join(combination)}: {str(error)[:500]}", flush=True)
            if number % 100 == 0:
                print(f"{number} of {len(todo)}", flush=True)
    print(f"{len(todo)} combinations, {len(bad)} bad, {time.monotonic() - begin_s:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
