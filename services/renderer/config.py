"""Settings of the renderer service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from parlante.rpc.server import ServerConfig, bad_setting
from parlante.rpc.tls import TlsFiles
from parlante.settings import about


@dataclass(frozen=True, kw_only=True)
class RendererServiceConfig(ServerConfig):
    """Serve the renderer stage."""

    port: int = field(
        default=50_053, metadata=about("Port; 0 takes a free one", env="PARLANTE_LISTEN_PORT")
    )
    max_streams: int = field(default=8, metadata=about("Streams at once; more are refused"))
    encoder: str = field(
        default="127.0.0.1:50051",
        metadata=about("Address of the encoder service", env="PARLANTE_ENCODER_ADDRESS"),
    )
    encoder_tls: bool = field(default=False, metadata=about("Reach the encoder over TLS"))
    encoder_ca: Path | None = field(
        default=None, metadata=about("PEM bundle that the encoder is signed by; implies TLS")
    )
    bundle_digest: str = field(
        default="", metadata=about("Refuse latents of any other model bundle; empty takes all")
    )

    face_net: str = field(
        default="auto",
        metadata=about(
            "Network that retouches mouth, eyes and contour: auto (nano if it is packaged), none, "
            "nano, base, or a file of weights"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_streams <= 10_000:
            raise bad_setting("max_streams", "in [1, 10000]", self.max_streams)
        if not self.face_net.strip():
            raise bad_setting("face_net", "auto, none, nano, base or a file", repr(self.face_net))
        if not self.encoder.strip():
            raise bad_setting("encoder", "HOST:PORT", repr(self.encoder))

    @property
    def encoder_tls_files(self) -> TlsFiles | None:
        """Key files of the channel to the encoder; our own certificate proves who we are."""
        if not self.encoder_tls and self.encoder_ca is None:
            return None
        return TlsFiles(ca=self.encoder_ca, cert=self.tls_cert, key=self.tls_key)
