"""Settings of the motion service."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from parlante.diffusion.guidance import GuidanceScales, parse_guidance
from parlante.errors import InvalidInput
from parlante.rpc.server import ServerConfig, bad_setting
from parlante.settings import about


@dataclass(frozen=True, kw_only=True)
class MotionServiceConfig(ServerConfig):
    """Serve the motion stage."""

    port: int = field(
        default=50_052, metadata=about("Port; 0 takes a free one", env="PARLANTE_LISTEN_PORT")
    )
    max_streams: int = field(default=16, metadata=about("Streams at once; more are refused"))
    weights: Path | None = field(
        default=None,
        metadata=about("safetensors file; unset takes the packaged", env="PARLANTE_MOTION_WEIGHTS"),
    )
    speech_encoder: Path | None = field(
        default=None,
        metadata=about("Folder of the weights' speech encoder; unset takes the one of training"),
    )
    guidance: str = field(
        default="",
        metadata=about(
            "How strongly conditions hold, 1 = as learnt, e.g. emotion=1.5,gaze=1.2; conditions: "
            "gaze, distance, emotion, listening, audio, past; each that is not 1 costs one more "
            "row in every network pass"
        ),
    )

    network: str = field(
        default="inprocess",
        metadata=about(
            "Where the network runs: inprocess, where streams repeat to the bit, or triton, where "
            "streams share its passes",
            env="PARLANTE_MOTION_NETWORK",
        ),
    )
    triton_url: str = field(
        default="127.0.0.1:8001",
        metadata=about("gRPC address of the Triton server for the network, HOST:PORT"),
    )

    @property
    def guidance_scales(self) -> GuidanceScales:
        """What `guidance` says."""
        return parse_guidance(self.guidance)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            _ = self.guidance_scales
        except InvalidInput:
            raise bad_setting(
                "guidance", "pairs like emotion=1.5 of known conditions in [0, 4]", self.guidance
            ) from None
        if self.network not in ("inprocess", "triton"):
            raise bad_setting("network", "inprocess or triton", repr(self.network[:40]))
        is_one = bool(self.triton_url.strip()) and "," not in self.triton_url
        if self.network == "triton" and not is_one:
            raise bad_setting("triton_url", "one HOST:PORT", repr(self.triton_url[:80]))
        if not 1 <= self.max_streams <= 10_000:
            raise bad_setting("max_streams", "in [1, 10000]", self.max_streams)
