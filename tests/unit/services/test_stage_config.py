"""Settings of the three stage services."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from parlante import settings
from parlante.diffusion.guidance import GuidanceScales
from parlante.errors import InvalidInput
from parlante.rpc.server import ServerConfig
from parlante.settings import default_store_dir
from services.encoder.config import EncoderServiceConfig
from services.motion.config import MotionServiceConfig
from services.renderer.config import RendererServiceConfig
from services.renderer.frame_decoder import NO_FACE_NET

STAGES = (EncoderServiceConfig, MotionServiceConfig, RendererServiceConfig)


def test_every_stage_has_a_port_of_its_own() -> None:
    assert [settings.load(stage, [], env={}).port for stage in STAGES] == [50_051, 50_052, 50_053]


@pytest.mark.parametrize("stage", STAGES)
def test_flags_and_variables_are_read(stage: type[ServerConfig]) -> None:
    env = {"PARLANTE_DRAIN_GRACE_S": "3", "PARLANTE_REFLECTION": "false"}
    config = settings.load(stage, ["--port", "7"], env=env)
    assert (config.port, config.drain_grace_s, config.reflection) == (7, 3.0, False)


def test_the_folder_of_a_speech_encoder_is_read() -> None:
    config = settings.load(MotionServiceConfig, [], env={"PARLANTE_SPEECH_ENCODER": "a/b"})
    assert config.speech_encoder == Path("a/b")


def test_frames_are_not_retouched_unless_asked() -> None:
    configs = (GatewayConfig(), settings.load(RendererServiceConfig, [], env={}))
    assert {config.face_net for config in configs} == {NO_FACE_NET}


def test_guidance_is_read() -> None:
    config = settings.load(MotionServiceConfig, ["--guidance", "emotion=1.5, gaze=0"], env={})
    assert config.guidance_scales == GuidanceScales(emotion=1.5, gaze=0.0)


def test_the_renderer_takes_triton_servers() -> None:
    env = {"PARLANTE_RENDERER": "triton", "PARLANTE_TRITON_URL": "a:8001, b:8001"}
    config = settings.load(RendererServiceConfig, [], env=env)
    assert (config.renderer, config.triton_url) == ("triton", "a:8001, b:8001")


@pytest.mark.parametrize("config", [RendererServiceConfig, GatewayConfig])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"renderer": "gpu"}, "renderer"),
        ({"renderer": "triton", "triton_url": "a:1,"}, "triton_url"),
    ],
)
def test_backends_that_do_not_exist_are_refused(
    config: type[ServerConfig], fields: dict[str, str], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        config(**fields)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.field) == ("BAD_SETTING", field)


@pytest.mark.parametrize("config", [RendererServiceConfig, GatewayConfig])
def test_addresses_of_servers_that_nobody_asks_do_not_matter(config: type[ServerConfig]) -> None:
    config(triton_url="")  # type: ignore[call-arg]


@pytest.mark.parametrize("stage", STAGES)
def test_variables_that_kubernetes_makes_do_no_harm(stage: type[ServerConfig]) -> None:
    address = "tcp://10.0.0.1:50051"
    env = {f"PARLANTE_{name}": address for name in ("ENCODER_PORT", "MOTION_PORT", "RENDERER_PORT")}
    assert settings.load(stage, [], env=env) == stage()


@pytest.mark.parametrize(
    ("stage", "fields"),
    [
        (EncoderServiceConfig, {"max_uploads": 0}),
        (EncoderServiceConfig, {"upload_timeout_s": 0}),
        (EncoderServiceConfig, {"memory_mib": 0}),
        (MotionServiceConfig, {"max_streams": 0}),
        (MotionServiceConfig, {"guidance": "emotion"}),
        (MotionServiceConfig, {"guidance": "mood=1.5"}),
        (MotionServiceConfig, {"guidance": "gaze=5"}),
        (MotionServiceConfig, {"guidance": "gaze=nan"}),
        (MotionServiceConfig, {"guidance": "gaze=1,gaze=2"}),
        (RendererServiceConfig, {"max_streams": 0}),
        (RendererServiceConfig, {"encoder": " "}),
        (RendererServiceConfig, {"port": -1}),
    ],
)
def test_bad_values_are_refused(stage: type[ServerConfig], fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        stage(**fields)  # type: ignore[arg-type]
    assert caught.value.reason == "BAD_SETTING"


def test_avatars_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/cache")
    assert default_store_dir() == Path("/tmp/cache/parlante/avatars")


def test_renderer_reaches_the_encoder_in_plain_text_unless_told() -> None:
    assert RendererServiceConfig().encoder_tls_files is None
    assert RendererServiceConfig(encoder_ca=Path("ca.pem")).encoder_tls_files is not None
