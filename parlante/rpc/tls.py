"""Key files for servers and channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from parlante.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files; which ones are needed depends on the side.

    A server needs `cert` and `key`, and with `ca` it also demands certificates of its clients.
    A client needs `ca` (None takes the system's), and `cert` and `key` where the server demands
    them.
    """

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidInput(
                "a certificate and its key come together; got only one of the two files",
                reason="BAD_SETTING",
                field="tls",
            )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Read the files for a server."""
        if self.cert is None or self.key is None:
            raise InvalidInput(
                "a TLS server needs a certificate and a key file; got none",
                reason="BAD_SETTING",
                field="tls",
            )
        return grpc.ssl_server_credentials(
            [(_read(self.key), _read(self.cert))],
            root_certificates=_read_if(self.ca),
            require_client_auth=self.ca is not None,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Read the files for a client."""
        return grpc.ssl_channel_credentials(
            _read_if(self.ca), _read_if(self.key), _read_if(self.cert)
        )


def _read_if(path: Path | None) -> bytes | None:
    return None if path is None else _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"cannot read the TLS file {path}: {error.strerror}", reason="BAD_SETTING", field="tls"
        ) from error
