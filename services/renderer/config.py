"""Settings of the renderer service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from parlante.errors import InvalidInput
from parlante.fleet.endpoints import check_target
from parlante.renderers import IN_PROCESS, check_backend
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
        metadata=about(
            "Encoder replicas: HOST:PORT[,...], dns:///NAME:PORT or k8s:///SERVICE.NAMESPACE:PORT",
            env="PARLANTE_ENCODER_ADDRESS",
        ),
    )
    encoder_tls: bool = field(default=False, metadata=about("Reach the encoder over TLS"))
    encoder_ca: Path | None = field(
        default=None, metadata=about("PEM bundle that the encoder is signed by; implies TLS")
    )
    encoder_peer_name: str = field(
        default="", metadata=about("Name in the encoders' certificates; unset = address")
    )
    latent_cache_url_file: Path | None = field(
        default=None,
        metadata=about(
            "File with the URL of a Redis or Valkey that the fleet's renderers share, as "
            "redis://:PASSWORD@HOST:6379/0; unset shares none"
        ),
    )
    renderer: str = field(
        default=IN_PROCESS,
        metadata=about("Where frames are decoded: 'inprocess' or 'triton'"),
    )
    triton_url: str = field(
        default="127.0.0.1:8001",
        metadata=about("gRPC addresses of the Triton servers, HOST:PORT[,HOST:PORT...]"),
    )
    bundle_digest: str = field(
        default="", metadata=about("Refuse latents of any other model bundle; empty takes all")
    )

    face_net: str = field(
        default="none",
        metadata=about(
            "Network that retouches mouth and eyes: none, nano or base (for rendered characters, "
            "not for photos), or a file of weights"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_streams <= 10_000:
            raise bad_setting("max_streams", "in [1, 10000]", self.max_streams)
        try:
            check_target(self.encoder)
        except InvalidInput as error:
            raise bad_setting("encoder", "a target", error.message) from error
        check_backend(self.renderer, self.triton_url)
        if not self.face_net.strip():
            raise bad_setting("face_net", "none, nano, base or a file", repr(self.face_net))

    @property
    def encoder_tls_files(self) -> TlsFiles | None:
        """Key files of the channel to the encoder; our own certificate proves who we are."""
        if not self.encoder_tls and self.encoder_ca is None:
            return None
        return TlsFiles(ca=self.encoder_ca, cert=self.tls_cert, key=self.tls_key)
