"""Settings of the gateway process, from ``PARLANTE_GATEWAY_*`` variables and flags."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.limits import SessionLimits
from parlante.errors import InvalidInput
from parlante.fleet.endpoints import check_target
from parlante.renderers import IN_PROCESS, check_backend
from parlante.rpc.server import ServerConfig, bad_setting
from parlante.rpc.tls import TlsFiles
from parlante.settings import about

__all__ = ["GatewayConfig"]

DEFAULT_PORT: Final = 50050
EMBEDDED: Final = "embedded"
REMOTE: Final = "remote"
_DEFAULTS: Final = SessionLimits()
# Live sessions of the engines on the CPU: 3 run well on two busy cores, 6 do not
# (tests/perf/gateway_live.py). A gateway alone only passes messages on.
_SESSIONS_PER_CORE: Final = 2
_REMOTE_SESSIONS: Final = 64


def _named(help_text: str, name: str) -> dict[str, str]:
    return about(help_text, env=f"PARLANTE_GATEWAY_{name.upper()}")


@dataclass(frozen=True, kw_only=True)
class GatewayConfig(ServerConfig):
    """The gateway: sessions of live talking faces.

    An address of a stage is HOST:PORT, several of those with commas, dns:///NAME:PORT for all
    addresses of a name, or k8s:///SERVICE.NAMESPACE:PORT for the EndpointSlices of a Service.
    """

    # Not PARLANTE_GATEWAY_PORT: Kubernetes sets that one for a Service of that name.
    port: int = field(
        default=DEFAULT_PORT,
        metadata=about("Port; 0 takes a free one", env="PARLANTE_LISTEN_PORT"),
    )
    wiring: str = field(
        default=REMOTE,
        metadata=_named("'remote' calls the stages over gRPC, 'embedded' runs them here", "wiring"),
    )
    encoder_address: str = field(
        default="localhost:50051",
        metadata=_named("Encoder replicas; see the class", "encoder_address"),
    )
    motion_address: str = field(
        default="localhost:50052",
        metadata=_named("Motion replicas; see the class", "motion_address"),
    )
    renderer_address: str = field(
        default="localhost:50053",
        metadata=_named("Renderer replicas; see the class", "renderer_address"),
    )
    resume_key_file: Path | None = field(
        default=None,
        metadata=_named(
            "File with the fleet's secret for resume points; unset makes none", "resume_key_file"
        ),
    )
    admin_port: int = field(
        default=0,
        metadata=_named("Port of the replica service, for operators; 0 = none", "admin_port"),
    )
    zone: str = field(
        default="", metadata=_named("Own zone; stages in it are preferred, remote wiring", "zone")
    )
    late_ms: int = field(
        default=500,
        metadata=_named("A stage that owes an output for so long loses the stream, ms", "late_ms"),
    )
    stages_tls: bool = field(
        default=False, metadata=_named("Reach the stages over TLS", "stages_tls")
    )
    stages_ca: Path | None = field(
        default=None,
        metadata=_named("PEM bundle that the stages are signed by; implies TLS", "stages_ca"),
    )
    stages_peer_name: str = field(
        default="",
        metadata=_named("Name in the stages' certificates; unset = address", "stages_peer_name"),
    )
    store_dir: Path | None = field(
        default=None,
        metadata=about("Directory of the avatars, embedded wiring; unset takes the user's cache"),
    )
    motion_weights: Path | None = field(
        default=None,
        metadata=about("safetensors file, embedded wiring; unset takes the packaged"),
    )
    speech_encoder: Path | None = field(
        default=None,
        metadata=about(
            "Folder of the weights' speech encoder, embedded wiring; unset takes training's"
        ),
    )
    renderer: str = field(
        default=IN_PROCESS,
        metadata=about("Where frames are decoded, embedded wiring: 'inprocess' or 'triton'"),
    )
    triton_url: str = field(
        default="127.0.0.1:8001",
        metadata=about("gRPC addresses of the Triton servers, HOST:PORT[,HOST:PORT...]"),
    )
    face_net: str = field(
        default="none",
        metadata=about(
            "Network that retouches mouth and eyes, embedded wiring: none, nano or base (for "
            "rendered characters, not for photos), or a file of weights"
        ),
    )
    max_uploads: int = field(
        default=4, metadata=_named("Portraits that are taken in at once", "max_uploads")
    )
    max_sessions: int = field(
        default=0,
        metadata=_named(
            f"Sessions at once; 0 takes {_REMOTE_SESSIONS} for remote wiring and "
            f"{_SESSIONS_PER_CORE} per core for embedded",
            "max_sessions",
        ),
    )
    max_session_s: int = field(
        default=_DEFAULTS.max_session_s,
        metadata=_named("Length of a session, seconds", "max_session_s"),
    )
    max_idle_s: int = field(
        default=_DEFAULTS.max_idle_s,
        metadata=_named("Time without a message of the client, seconds", "max_idle_s"),
    )
    max_audio_ahead_ms: int = field(
        default=_DEFAULTS.max_audio_ahead_ms,
        metadata=_named("Audio read ahead of the media clock, ms", "max_audio_ahead_ms"),
    )
    max_unread_s: int = field(
        default=_DEFAULTS.max_unread_s,
        metadata=_named("How long a live client may leave audio and events unread", "max_unread_s"),
    )
    prebuffer_ms: int = field(
        default=_DEFAULTS.prebuffer_ms,
        metadata=_named("Audio that an utterance needs before it plays, ms", "prebuffer_ms"),
    )
    max_frame_size_px: int = field(
        default=_DEFAULTS.max_frame_size_px,
        metadata=_named(
            "Edge of the largest frames, px; below 1024 it holds for whole pictures too",
            "max_frame_size_px",
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wiring not in (EMBEDDED, REMOTE):
            raise bad_setting("wiring", f"{EMBEDDED!r} or {REMOTE!r}", repr(self.wiring[:40]))
        check_backend(self.renderer, self.triton_url)
        for name in ("encoder_address", "motion_address", "renderer_address"):
            try:
                check_target(getattr(self, name))
            except InvalidInput as error:
                raise bad_setting(name, "a target", error.message) from error
        if not 100 <= self.late_ms <= 60_000:
            raise bad_setting("late_ms", "in [100, 60000]", self.late_ms)
        if not 0 <= self.admin_port <= 65_535:
            raise bad_setting("admin_port", "in [0, 65535]", self.admin_port)
        if not self.face_net.strip():
            raise bad_setting("face_net", "none, nano, base or a file", repr(self.face_net))
        if self.max_sessions < 0:
            raise bad_setting("max_sessions", ">= 0", self.max_sessions)
        if self.max_uploads < 1:
            raise bad_setting("max_uploads", ">= 1", self.max_uploads)
        self.limits()

    @property
    def stages_tls_files(self) -> TlsFiles | None:
        """Key files of the channels to the stages; our own certificate proves who we are."""
        if not self.stages_tls and self.stages_ca is None:
            return None
        return TlsFiles(ca=self.stages_ca, cert=self.tls_cert, key=self.tls_key)

    @property
    def session_capacity(self) -> int:
        """Sessions at once."""
        if self.max_sessions:
            return self.max_sessions
        return _REMOTE_SESSIONS if self.wiring == REMOTE else _SESSIONS_PER_CORE * _num_cores()

    def limits(self) -> SessionLimits:
        """Give the bounds of one session."""
        try:
            return SessionLimits(
                max_session_s=self.max_session_s,
                max_idle_s=self.max_idle_s,
                max_audio_ahead_ms=self.max_audio_ahead_ms,
                max_unread_s=self.max_unread_s,
                prebuffer_ms=self.prebuffer_ms,
                max_frame_size_px=self.max_frame_size_px,
            )
        except ValueError as error:
            raise bad_setting("limits", "positive", error) from error


def _num_cores() -> int:
    return os.cpu_count() or 1
