"""Settings of the gateway process, and what it may not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.limits import SessionLimits
from parlante.errors import InvalidInput
from parlante.settings import load


def test_flags_win_over_the_environment() -> None:
    env = {"PARLANTE_GATEWAY_MAX_SESSIONS": "3", "PARLANTE_GATEWAY_WIRING": "embedded"}
    config = load(GatewayConfig, ["--max-sessions", "5"], env=env)
    assert (config.max_sessions, config.wiring) == (5, "embedded")


def test_defaults_are_the_limits_of_a_session() -> None:
    assert GatewayConfig().limits() == SessionLimits()


def test_kubernetes_service_variables_do_no_harm() -> None:
    env = {"PARLANTE_GATEWAY_PORT": "tcp://10.0.0.1:50050"}
    assert load(GatewayConfig, [], env=env).port == 50050


def test_capacity_follows_the_wiring_unless_it_is_set() -> None:
    assert GatewayConfig(wiring="remote").session_capacity == 64
    assert GatewayConfig(wiring="embedded").session_capacity >= 2
    assert GatewayConfig(max_sessions=3).session_capacity == 3


def test_stages_are_reached_over_tls_when_asked() -> None:
    assert GatewayConfig().stages_tls_files is None
    tls = GatewayConfig(stages_ca=Path("ca.pem")).stages_tls_files
    assert tls is not None
    assert tls.ca == Path("ca.pem")


@pytest.mark.parametrize(
    "bad",
    [
        {"wiring": "cloud"},
        {"motion_address": ""},
        {"max_sessions": -1},
        {"max_uploads": 0},
        {"max_idle_s": 0},
        {"max_audio_ahead_ms": -1},
        {"port": 70_000},
    ],
)
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as refused:
        GatewayConfig(**bad)  # type: ignore[arg-type]
    assert refused.value.reason == "BAD_SETTING"


def test_gateway_needs_no_library_of_a_stage() -> None:
    blocked = [
        "torch",
        "cv2",
        "numba",
        "av",
        "scipy",
        "PIL",
        "tritonclient",
        "soxr",
        "ai_edge_litert",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}));"
        "import gateway.__main__; from gateway.config import GatewayConfig;"
        "from gateway.wiring import open_stages; open_stages(GatewayConfig())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_session_code_knows_no_network() -> None:
    modules = "session watchdog pipeline timeline credits outbox steering limits stages values bell"
    code = "import sys; sys.modules['grpc'] = None; sys.modules['services'] = None;" + "".join(
        f"import gateway.{name};" for name in modules.split()
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
