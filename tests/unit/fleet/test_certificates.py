"""Callers and operators where both sides prove who they are, also when all certificates change."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from gateway.serving import running_gateway
from gateway.stages import Stages
from parlante.cli import ctl
from parlante.client import ParlanteClient
from parlante.errors import Unavailable
from parlante.fleet import replica as replica_module
from parlante.fleet.endpoints import StaticDiscovery
from parlante.fleet.operator import Operator
from parlante.fleet.pool import ReplicaPool
from parlante.rpc.server import ServerConfig
from parlante.rpc.tls import TlsFiles
from tests.fakes.certificates import Authority, install, needs_openssl
from tests.fakes.encoder import FakeEncoder
from tests.fakes.motion import FakeMotion
from tests.fakes.renderer import FakeRenderer
from tests.fakes.stages import FakeStages, serve_fakes
from tests.fakes.wire import eventually

pytestmark = needs_openssl


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _served_with(files: TlsFiles, port: int = 0) -> ServerConfig:
    return ServerConfig(
        host="127.0.0.1",
        port=port,
        tls_cert=files.cert,
        tls_key=files.key,
        tls_client_ca=files.ca,
    )


async def test_a_caller_comes_back_with_renewed_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replica comes back at its address with another authority: the caller's files of its
    start are of no use any more."""
    monkeypatch.setattr(replica_module, "_CONNECT_S", 0.3)
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    files = install(old.issue("caller"), tmp_path / "caller")
    stages = FakeStages()
    async with serve_fakes(stages, config=_served_with(old.issue("stage"))):
        port, target = stages.server.port, stages.target
        pool = await ReplicaPool("fake", StaticDiscovery(target), tls=files).__aenter__()
        (replica,) = pool.replicas
        await eventually(lambda: replica.is_open)
        first = replica.channel
        await asyncio.sleep(0.1)
        assert replica.channel is first  # nothing has changed
    try:
        async with serve_fakes(FakeStages(), config=_served_with(new.issue("stage"), port)):
            await eventually(lambda: not replica.is_open)
            install(new.issue("caller"), tmp_path / "caller")
            await eventually(lambda: replica.is_open)
            assert replica.channel is not first
            lease = await pool.acquire()
            await lease.release()
    finally:
        await pool.__aexit__(None, None, None)


async def test_certificates_in_the_middle_of_their_renewal_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replica_module, "_CONNECT_S", 0.1)
    files = install(Authority(tmp_path / "one").issue("caller"), tmp_path / "caller")
    async with ReplicaPool("fake", StaticDiscovery("127.0.0.1:1"), tls=files) as pool:
        (replica,) = pool.replicas
        first = replica.channel
        assert files.key is not None
        files.key.unlink()
        await eventually(lambda: "TLS files not read again" in caplog.text)
        assert replica.channel is first


async def test_gateways_ask_operators_for_a_certificate_and_clients_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "fleet")
    own, operators = authority.issue("gateway"), authority.issue("operator")
    admin_port = _free_port()
    config = GatewayConfig(
        host="127.0.0.1",
        port=0,
        admin_port=admin_port,
        tls_cert=own.cert,
        tls_key=own.key,
        stages_ca=authority.cert,
    )
    encoder = FakeEncoder()
    stages = Stages(encoder=encoder, motion=FakeMotion(), renderer=FakeRenderer(encoder))
    async with running_gateway(config, stages=stages) as server:
        admin = f"127.0.0.1:{admin_port}"
        load = await Operator(tls=operators, peer_name="gateway.internal").load(admin)
        assert load.stage == "gateway"
        # As the pods of the scale guard have it, of the component mtls.
        monkeypatch.setenv("PARLANTECTL_STAGES", f"gateway={admin}")
        monkeypatch.setenv("PARLANTECTL_PEER_NAME", "gateway.internal")
        for name in ("ca", "cert", "key"):
            monkeypatch.setenv(f"PARLANTECTL_TLS_{name.upper()}", str(getattr(operators, name)))
        assert await asyncio.to_thread(ctl.main, ("status",)) == 0
        with pytest.raises(Unavailable):
            await Operator(tls=replace(operators, cert=None, key=None)).load(admin)
        client = ParlanteClient(f"127.0.0.1:{server.port}", tls=TlsFiles(ca=authority.cert))
        async with client:
            await client.wait_ready(timeout_s=5.0)
