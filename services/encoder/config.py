"""Settings of the encoder service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from parlante.rpc.server import ServerConfig, bad_setting
from parlante.settings import about


@dataclass(frozen=True, kw_only=True)
class EncoderServiceConfig(ServerConfig):
    """Serve the encoder stage."""

    port: int = field(
        default=50_051, metadata=about("Port; 0 takes a free one", env="PARLANTE_LISTEN_PORT")
    )
    max_uploads: int = field(default=4, metadata=about("Portraits in work; more are refused"))
    upload_timeout_s: float = field(default=30.0, metadata=about("Time for one upload"))
    store_dir: Path | None = field(
        default=None, metadata=about("Directory of the avatars; unset takes the user's cache")
    )
    memory_mib: int = field(default=256, metadata=about("Latents kept in memory, MiB"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_uploads <= 1_000:
            raise bad_setting("max_uploads", "in [1, 1000]", self.max_uploads)
        if not 0 < self.upload_timeout_s <= 3600:
            raise bad_setting("upload_timeout_s", "in (0, 3600]", self.upload_timeout_s)
        if not 1 <= self.memory_mib <= 1_000_000:
            raise bad_setting("memory_mib", "in [1, 1000000]", self.memory_mib)
