"""Generate the protocol code of package parlante.v1 from protos/.

Usage: python scripts/gen_protos.py [OUT_DIR]

OUT_DIR defaults to the repository root, where the generated files are committed.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"


def generate(out_dir: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi and *_pb2_grpc.py below `out_dir`."""
    sources = sorted(str(p) for p in (PROTOS / "parlante" / "v1").glob("*.proto"))
    include = str(files("grpc_tools") / "_proto")
    arguments = [
        "protoc",
        f"-I{PROTOS}",
        f"-I{include}",
        f"--python_out={out_dir}",
        f"--pyi_out={out_dir}",
        f"--grpc_python_out={out_dir}",
        *sources,
    ]
    status = protoc.main(arguments)
    if status != 0:
        raise SystemExit(f"protoc ended with status {status}")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
