"""Certificates of authorities that live as long as a test."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from parlante.rpc.tls import TlsFiles

__all__ = ["Authority", "install", "needs_openssl"]

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files are in a folder of its own."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        names = ("-subj", "/CN=authority", "-keyout", self._key, "-out", self.cert)
        _openssl("req", "-x509", *_CURVE, "-days", "1", *names)

    @property
    def cert(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.crt"

    @property
    def _key(self) -> Path:
        return self.folder / "ca.key"

    def issue(self, name: str) -> TlsFiles:
        """Make a certificate that proves 127.0.0.1 and `name`.internal."""
        key, cert = self.folder / f"{name}.key", self.folder / f"{name}.crt"
        request, names = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        names.write_text(f"subjectAltName=IP:127.0.0.1,DNS:{name}.internal\n")
        _openssl("req", *_CURVE, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signer = ("-CA", self.cert, "-CAkey", self._key, "-CAcreateserial", "-days", "1")
        _openssl("x509", "-req", "-in", request, *signer, "-extfile", names, "-out", cert)
        return TlsFiles(cert=cert, key=key, ca=self.cert)


def install(files: TlsFiles, folder: Path) -> TlsFiles:
    """Put files where a process reads them, as the kubelet does when a certificate is renewed."""
    folder.mkdir(exist_ok=True)
    targets = {"cert": folder / "tls.crt", "key": folder / "tls.key", "ca": folder / "ca.crt"}
    for name, target in targets.items():
        source = getattr(files, name)
        assert source is not None
        temporary = target.with_suffix(".new")
        shutil.copy(source, temporary)
        temporary.replace(target)
    return TlsFiles(**targets)
