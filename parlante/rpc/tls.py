"""Key files for servers and channels."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import grpc

from parlante.errors import InvalidInput

logger = logging.getLogger(__name__)


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
        """Read the files for a server, and again when they change.

        New connections get the new certificate, as cert-manager renews them while the process
        runs; those that are open keep theirs. Files that cannot be read leave the old ones.
        """
        if self.cert is None or self.key is None:
            raise InvalidInput(
                "a TLS server needs a certificate and a key file; got none",
                reason="BAD_SETTING",
                field="tls",
            )
        seen = self.stamp()
        first = self._configuration()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            stamp = self.stamp()
            if stamp == seen:
                return None
            try:
                renewed = self._configuration()
            except InvalidInput as error:
                logger.warning("TLS files not read again", extra={"detail": error.message})
                return None
            seen = stamp
            logger.info("TLS files read again")
            return renewed

        return grpc.dynamic_ssl_server_credentials(
            first,
            fetch,  # type: ignore[arg-type]  # None is allowed: nothing has changed
            require_client_authentication=self.ca is not None,
        )

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        assert self.cert is not None
        assert self.key is not None
        return grpc.ssl_server_certificate_configuration(
            [(_read(self.key), _read(self.cert))], root_certificates=_read_if(self.ca)
        )

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Tell versions of the files apart; a mounted secret swaps a link, so time and inode."""
        stamps = []
        for path in (self.cert, self.key, self.ca):
            try:
                status = None if path is None else path.stat()
            except OSError:
                status = None
            stamps.append((status.st_mtime_ns, status.st_ino) if status else (0, 0))
        return tuple(stamps)

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
