"""`parlante` itself, and its commands avatars, doctor, bench and demo."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import av
import pytest
from PIL import Image

from gateway.stages import Stages
from parlante.cli import bench, doctor
from parlante.cli.embedded import EmbeddedGateway, store_dir
from tests.fakes.small_gateway import small_gateway

Run = Callable[..., tuple[int, str, str]]

COMMANDS = ["talk", "serve", "avatars", "doctor", "bench", "train", "synth", "demo"]


# --- parlante ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(parlante: Run, command: str) -> None:
    code, out, _ = parlante(command, "--help")
    assert code == 0
    assert f"usage: parlante {command}" in out


def test_help_lists_the_commands(parlante: Run) -> None:
    code, out, _ = parlante()
    assert code == 0
    assert all(f"  {command}" in out for command in COMMANDS)


def test_an_unknown_command_is_wrong_input(parlante: Run) -> None:
    code, _, err = parlante("sing")
    assert code == 2
    assert "sing" in err


def test_a_missing_package_is_named_with_its_cure() -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from parlante.cli.main import main\n"
        "sys.exit(main(['talk', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "parlante: error: the package 'av' is missing; "
        "run: pip install 'parlante[embedded,demo,eval]'"
    )


def test_avatars_needs_the_base_packages_only() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'cv2', 'numba', 'scipy', 'av', 'PIL', 'soundfile', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "from parlante.cli.main import main\n"
        "sys.exit(main(['avatars', 'list', '--help']))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


# --- avatars -----------------------------------------------------------------------------------


def test_avatars_add_prints_what_was_made(
    parlante: Run, fake_gateway: Callable[..., None], portrait: Path
) -> None:
    code, out, _ = parlante("avatars", "add", portrait, "--name", "anna", "--json")
    assert code == 0
    assert json.loads(out)["name"] == "anna"


def test_avatars_show_of_an_unknown_name_fails(
    parlante: Run, fake_gateway: Callable[..., None]
) -> None:
    code, _, err = parlante("avatars", "show", "nobody")
    assert (code, err.count("\n")) == (2, 1)


def test_avatars_list_says_how_to_begin(parlante: Run, fake_gateway: Callable[..., None]) -> None:
    assert "parlante avatars add" in parlante("avatars", "list")[1]


def test_avatars_add_list_show_rm_on_a_server(
    parlante: Run, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One encoder for all four calls, as behind a server."""
    from tests.fakes.encoder import FakeEncoder

    encoder = FakeEncoder()

    @asynccontextmanager
    async def target(server: str | None) -> AsyncIterator[str]:
        assert server == "host:1"
        async with small_gateway(encoder=encoder) as gateway:
            yield gateway.target

    monkeypatch.setattr("parlante.cli.avatars.gateway_target", target)
    to_server = ("--server", "host:1")
    assert parlante("avatars", "add", portrait, "--name", "anna", *to_server)[0] == 0
    assert "anna  640x480" in parlante("avatars", "list", *to_server)[1]
    assert "anna" in parlante("avatars", "show", "anna", *to_server)[1]
    assert parlante("avatars", "rm", "anna", *to_server)[0] == 0
    assert "anna" not in parlante("avatars", "list", *to_server)[1]


# --- doctor ------------------------------------------------------------------------------------


def test_doctor_tells_every_package_with_its_version(parlante: Run) -> None:
    _, out, _ = parlante("doctor", "--json")
    checks = {check["name"]: check for check in map(json.loads, out.splitlines())}
    assert checks["grpcio"]["ok"]
    assert checks["grpcio"]["detail"][0].isdigit()
    assert {"Python", "face tracker", "H.264 encoder", "GPU", "store"} <= checks.keys()


def test_doctor_fails_without_the_tracker_and_says_what_to_do(
    parlante: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLANTE_MODEL_DIR", str(tmp_path))
    code, out, _ = parlante("doctor")
    assert code == 1
    assert "-> python scripts/fetch_tracker.py" in out
    assert "cannot talk: face tracker" in out


def test_doctor_fails_when_the_store_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("PARLANTE_STORE_DIR", str(file / "store"))
    (store,) = [check for check in doctor.examine() if check.name == "store"]
    assert (store.ok, store.needed) == (False, True)


def test_commands_keep_avatars_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARLANTE_STORE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_dir() == tmp_path / "parlante" / "avatars"


# --- bench and demo ----------------------------------------------------------------------------


def test_bench_ends_with_its_figures(parlante: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def embedded(
        store: Path, *, face_net: str | None = None
    ) -> AsyncIterator[EmbeddedGateway]:
        async with small_gateway() as gateway:
            stages = Stages(
                encoder=gateway.encoder, motion=gateway.motion, renderer=gateway.renderer
            )
            yield EmbeddedGateway(target=gateway.target, stages=stages)

    monkeypatch.setattr(bench, "embedded_gateway", embedded)
    monkeypatch.setattr(bench, "_LIVE_S", 1.0)
    monkeypatch.setattr(bench, "_NUM_FIRST_FRAMES", 1)
    code, out, err = parlante("bench", "--seconds", "1", "--json")
    report = json.loads(out.splitlines()[-1])
    assert (code, err) == (0, "")
    assert report["frames"] == 25
    assert 0 < report["first_frame_ms"] < 5000
    assert 0 < report["live_latency_ms_p50"] <= report["live_latency_ms_p95"] < 5000
    assert report["rss_mb"] > 10


def test_bench_refuses_silly_lengths(parlante: Run) -> None:
    assert parlante("bench", "--seconds", "0")[0] == 2


def test_demo_writes_video_and_contact_sheet(
    parlante: Run, fake_gateway: Callable[..., None], tmp_path: Path
) -> None:
    code, out, _ = parlante("demo", "--output-dir", tmp_path, "--text", "Hello.")
    assert code == 0
    assert str(tmp_path / "demo.mp4") in out
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert container.streams.video[0].frames > 5
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size == (1536, 512)
