"""The committed protocol code is what the protos say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Protocol code made afresh from protos/."""
    pytest.importorskip("grpc_tools")
    folder = tmp_path_factory.mktemp("stubs")
    command = [sys.executable, str(ROOT / "scripts" / "gen_protos.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder / "parlante" / "v1"


def test_committed_stubs_are_fresh(generated: Path) -> None:
    committed = ROOT / "parlante" / "v1"
    names = {path.name for path in committed.glob("*_pb2*")}
    assert names == {path.name for path in generated.iterdir()}
    stale = [
        name
        for name in sorted(names)
        if (committed / name).read_text() != (generated / name).read_text()
    ]
    assert not stale, "run: python scripts/gen_protos.py"
