"""Settings of the encoder service."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parlante.rpc.server import ServerConfig, bad_setting
from parlante.settings import about

# Bucket names are of S3; a prefix is plain folders.
_BUCKET_URL: Final = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?"
)
_ENDPOINT: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?")


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
    store_url: str = field(
        default="",
        metadata=about("Bucket of the avatars in place of a directory, s3://BUCKET/PREFIX"),
    )
    store_endpoint: str = field(
        default="", metadata=about("https://HOST:PORT of the object store; unset is Amazon's")
    )
    store_region: str = field(
        default="", metadata=about("Region of the bucket; unset takes AWS_REGION or us-east-1")
    )
    memory_mib: int = field(default=256, metadata=about("Latents kept in memory, MiB"))
    preload: bool = field(
        default=True,
        metadata=about(
            "Load the networks before serving; else the first portrait that is not in the store "
            "loads them, and what only serves known ones needs no tracker"
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.max_uploads <= 1_000:
            raise bad_setting("max_uploads", "in [1, 1000]", self.max_uploads)
        if not 0 < self.upload_timeout_s <= 3600:
            raise bad_setting("upload_timeout_s", "in (0, 3600]", self.upload_timeout_s)
        if self.store_url and self.store_dir is not None:
            raise bad_setting("store_url", "empty when store_dir is set", self.store_url)
        if self.store_url and not _BUCKET_URL.fullmatch(self.store_url):
            raise bad_setting("store_url", "like s3://bucket or s3://bucket/prefix", self.store_url)
        if self.store_endpoint and not _ENDPOINT.fullmatch(self.store_endpoint):
            raise bad_setting("store_endpoint", "like https://host:port", self.store_endpoint)
        if not self.store_url and (self.store_endpoint or self.store_region):
            raise bad_setting("store_url", "set with store_endpoint or store_region", "")
        if not 1 <= self.memory_mib <= 1_000_000:
            raise bad_setting("memory_mib", "in [1, 1000000]", self.memory_mib)
