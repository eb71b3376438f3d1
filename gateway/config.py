"""Settings of the gateway process, from ``PARLANTE_GATEWAY_*`` variables and flags."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.limits import SessionLimits
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
    """The gateway: sessions of live talking faces."""

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
        default="localhost:50051", metadata=_named("Encoder, remote wiring", "encoder_address")
    )
    motion_address: str = field(
        default="localhost:50052", metadata=_named("Motion, remote wiring", "motion_address")
    )
    renderer_address: str = field(
        default="localhost:50053", metadata=_named("Renderer, remote wiring", "renderer_address")
    )
    stages_tls: bool = field(
        default=False, metadata=_named("Reach the stages over TLS", "stages_tls")
    )
    stages_ca: Path | None = field(
        default=None,
        metadata=_named("PEM bundle that the stages are signed by; implies TLS", "stages_ca"),
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
    face_net: str = field(
        default="auto",
        metadata=about(
            "Network that retouches mouth, eyes and contour, embedded wiring: auto (nano if it is "
            "packaged), none, nano, base, or a file of weights"
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wiring not in (EMBEDDED, REMOTE):
            raise bad_setting("wiring", f"{EMBEDDED!r} or {REMOTE!r}", repr(self.wiring[:40]))
        for name in ("encoder_address", "motion_address", "renderer_address"):
            if not getattr(self, name):
                raise bad_setting(name, "HOST:PORT", "nothing")
        if not self.face_net.strip():
            raise bad_setting("face_net", "auto, none, nano, base or a file", repr(self.face_net))
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
            )
        except ValueError as error:
            raise bad_setting("limits", "positive", error) from error


def _num_cores() -> int:
    return os.cpu_count() or 1
