"""docs/settings.md names every setting of the services as the programs have it."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from parlante.rpc.server import ServerConfig
from parlante.settings import PREFIX
from services.encoder.config import EncoderServiceConfig
from services.motion.config import MotionServiceConfig
from services.renderer.config import RendererServiceConfig

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
SHARED = {field.name for field in dataclasses.fields(ServerConfig)} - {"port"}
SECTIONS = {
    "All four": ServerConfig,
    "Gateway": GatewayConfig,
    "Encoder": EncoderServiceConfig,
    "Motion": MotionServiceConfig,
    "Renderer": RendererServiceConfig,
}


def rows_of(config: type) -> list[str]:
    """Give the rows of a service's table; those that all services share are in one of its own."""
    hints = typing.get_type_hints(config)
    rows = []
    for field in dataclasses.fields(config):
        if (field.name in SHARED) is not (config is ServerConfig):
            continue
        flag = field.metadata.get("flag") or "--" + field.name.replace("_", "-")
        if hints[field.name] is bool:
            flag += f"`, `--no-{flag.removeprefix('--')}"
        variable = field.metadata.get("env") or PREFIX + field.name.upper()
        default = "" if field.default in (None, "") else f"`{field.default}`"
        if hints[field.name] is bool:
            default = "on" if field.default else "off"
        meaning = field.metadata["help"].removesuffix("; see the class")
        rows.append(f"| `{flag}` | `{variable}` | {default} | {meaning} |")
    return rows


@pytest.mark.parametrize("title", list(SECTIONS))
def test_every_setting_is_in_the_document(title: str) -> None:
    _, _, rest = DOCUMENT.read_text().partition(f"\n## {title}\n")
    found = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `--")]
    assert found == rows_of(SECTIONS[title])
