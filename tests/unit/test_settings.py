"""Settings from defaults, environment and flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parlante import settings
from parlante.errors import InvalidInput
from parlante.settings import about


@dataclass(frozen=True)
class Example:
    """An example."""

    port: int = field(default=50, metadata=about("Port", env="PARLANTE_LISTEN_PORT"))
    ratio: float = 0.5
    name: str = "anna"
    fast: bool = True
    folder: Path | None = None


def _load(argv: list[str] | None = None, **env: str) -> Example:
    return settings.load(Example, argv or [], env=env)


def test_defaults_hold_when_nothing_is_set() -> None:
    assert _load() == Example()


def test_environment_wins_over_defaults() -> None:
    got = _load(
        PARLANTE_LISTEN_PORT="7", PARLANTE_RATIO="1e-1", PARLANTE_FAST="off", PARLANTE_FOLDER="/a"
    )
    assert got == Example(port=7, ratio=0.1, fast=False, folder=Path("/a"))


def test_flags_win_over_the_environment() -> None:
    got = _load(["--port", "8", "--no-fast", "--name", "bea"], PARLANTE_LISTEN_PORT="7")
    assert got == Example(port=8, fast=False, name="bea")


def test_empty_variable_counts_as_unset() -> None:
    assert _load(PARLANTE_LISTEN_PORT="") == Example()


def test_variable_that_kubernetes_makes_is_not_ours() -> None:
    assert _load(PARLANTE_PORT="tcp://10.0.0.1:50051") == Example()


@pytest.mark.parametrize(
    ("name", "text"),
    [("PARLANTE_LISTEN_PORT", "tcp://10.0.0.1"), ("PARLANTE_RATIO", "x"), ("PARLANTE_FAST", "2")],
)
def test_bad_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        _load(**{name: text})


def test_bad_flag_ends_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _load(["--port", "x"])
    assert "--port" in capsys.readouterr().err


def test_help_names_the_variables(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _load(["--help"])
    assert "PARLANTE_LISTEN_PORT" in capsys.readouterr().out


def test_shown_gives_plain_values() -> None:
    assert settings.shown(Example(folder=Path("/a")))["folder"] == "/a"
