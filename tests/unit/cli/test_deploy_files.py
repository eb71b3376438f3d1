"""The container recipes name things that exist: targets, extras, scripts, flags, files."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import GatewayConfig
from parlante.rpc.server import ServerConfig
from parlante.settings import load
from parlante.triton.tuning import DecoderTuning
from services.encoder.config import EncoderServiceConfig
from services.motion.config import MotionServiceConfig
from services.renderer.config import RendererServiceConfig

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
CONFIGS: dict[str, type[ServerConfig]] = {
    "encoder": EncoderServiceConfig,
    "motion": MotionServiceConfig,
    "renderer": RendererServiceConfig,
    "gateway": GatewayConfig,
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]


def test_dockerfile_has_a_target_per_process() -> None:
    targets = set(re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert targets == set(CONFIGS)


def test_dockerfile_installs_extras_that_exist(project: dict[str, Any]) -> None:
    lists = re.findall(r"'\.\[([\w,-]+)\]'", DOCKERFILE)
    extras = {extra for names in lists for extra in names.split(",")}
    assert extras == {"encoder", "motion", "renderer", "fleet", "object-store"}
    assert extras <= project["optional-dependencies"].keys()


def test_dockerfile_starts_scripts_that_exist(project: dict[str, Any]) -> None:
    scripts = set(re.findall(r'ENTRYPOINT \["([\w-]+)"\]', DOCKERFILE))
    assert scripts == {f"parlante-{name}" for name in CONFIGS}
    assert scripts <= project["scripts"].keys()


def test_dockerfile_copies_what_is_there() -> None:
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_dockerfile_exposes_the_default_port(name: str) -> None:
    section = DOCKERFILE.partition(f"FROM base AS {name}\n")[2].partition("FROM ")[0]
    assert f"EXPOSE {load(CONFIGS[name], [], env={}).port}" in section


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_compose_passes_flags_that_the_service_knows(name: str, services: dict[str, Any]) -> None:
    assert services[name]["build"]["target"] == name
    load(CONFIGS[name], services[name].get("command", []), env={})


TRITON_DOCKERFILE = (ROOT / "deploy/docker/Dockerfile.triton").read_text()
REQUIREMENTS = (ROOT / "deploy/triton/requirements.txt").read_text()


@pytest.fixture(scope="module")
def triton_services() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy/compose.triton.yaml").read_text())["services"]


def test_compose_with_triton_adds_a_server_with_a_gpu(
    triton_services: dict[str, Any], services: dict[str, Any]
) -> None:
    server = triton_services["triton"]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert (ROOT / server["build"]["dockerfile"]).is_file()
    assert triton_services["renderer"]["depends_on"].keys() <= {*services, "triton"}


def test_compose_with_triton_shares_memory_between_server_and_renderer(
    triton_services: dict[str, Any],
) -> None:
    assert triton_services["triton"]["ipc"] == "shareable"
    assert triton_services["renderer"]["ipc"] == "service:triton"


def test_compose_with_triton_passes_flags_that_the_renderer_knows(
    triton_services: dict[str, Any],
) -> None:
    config = load(RendererServiceConfig, triton_services["renderer"]["command"], env={})
    assert (config.renderer, config.triton_url) == ("triton", "triton:8001")


def test_triton_image_copies_what_is_there() -> None:
    for line in re.findall(r"^COPY (.+)$", TRITON_DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_the_triton_container_starts_by_our_module_with_our_models() -> None:
    """Which gives the server the flags of the bundled one: tests/unit/triton/test_tuning.py."""
    assert 'CMD ["python3", "-m", "parlante.triton.container"]' in TRITON_DOCKERFILE
    (repository,) = re.findall(r"PARLANTE_TRITON_REPOSITORY=/app/(\S+)", TRITON_DOCKERFILE)
    assert (ROOT / repository / "decoder" / "config.pbtxt").is_file()


def test_compose_tunes_the_decoder_for_a_gpu() -> None:
    compose = yaml.safe_load((ROOT / "deploy/compose.triton.yaml").read_text())
    environment = compose["services"]["triton"]["environment"]
    tuning = load(DecoderTuning, [], env=environment)
    assert (tuning.decoder_processes, tuning.decoder_max_batch) == (4, 32)
    assert tuning.decoder_fuse
    known = {f"PARLANTE_{field.name.upper()}" for field in fields(DecoderTuning)}
    assert {name for name in environment if name.startswith("PARLANTE_")} <= known


def test_models_have_packages_of_the_suites_versions_but_numpy() -> None:
    """Frames must be the same on the server and in process."""
    constraints = (ROOT / "constraints.txt").read_text().lower().splitlines()
    lines = [line for line in REQUIREMENTS.lower().splitlines() if line[:1] not in ("", "#")]
    own = {"numpy==1.26.4", "nvidia-pytriton==0.7.0", "setuptools==80.9.0"}
    assert set(lines) - set(constraints) == own
