"""The container recipes name things that exist: targets, extras, scripts, flags, files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import GatewayConfig
from parlante.rpc.server import ServerConfig
from parlante.settings import load
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
    lists = re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE)
    extras = {extra for names in lists for extra in names.split(",")}
    assert extras == {"encoder", "motion", "renderer", "fleet"}
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
