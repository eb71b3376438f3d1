"""Certificates that change under a running server, and health for probes without TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parlante.rpc.channel import open_channel
from parlante.rpc.server import RpcServer, ServerConfig
from parlante.rpc.tls import TlsFiles

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def _issue(folder: Path, name: str) -> TlsFiles:
    """Make a self-signed certificate for 127.0.0.1."""
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", f"/CN={name}", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return TlsFiles(cert=cert, key=key, ca=cert)


async def _check(target: str, ca: Path) -> bool:
    async with open_channel(target, tls=TlsFiles(ca=ca)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=3.0)
        except grpc.aio.AioRpcError:
            return False
    return True


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    old, new = _issue(tmp_path, "old"), _issue(tmp_path, "new")
    assert old.cert is not None
    assert new.cert is not None
    served = TlsFiles(cert=tmp_path / "tls.crt", key=tmp_path / "tls.key")

    def put(files: TlsFiles) -> None:
        for source, target in ((files.cert, served.cert), (files.key, served.key)):
            assert source is not None
            assert target is not None
            shutil.copy(source, target)

    put(old)
    config = ServerConfig(host="127.0.0.1", tls_cert=served.cert, tls_key=served.key)
    async with RpcServer([], config) as server:
        server.set_serving()
        target = f"127.0.0.1:{server.port}"
        assert await _check(target, old.cert)
        put(new)
        assert await _check(target, new.cert)
        assert not await _check(target, old.cert)
        (tmp_path / "tls.key").unlink()  # in the middle of a renewal
        assert await _check(target, new.cert)


async def test_probes_need_no_certificate(tmp_path: Path) -> None:
    files = _issue(tmp_path, "one")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        health_port = probe.getsockname()[1]
    config = ServerConfig(
        host="127.0.0.1", tls_cert=files.cert, tls_key=files.key, health_port=health_port
    )
    async with (
        RpcServer([], config) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{health_port}") as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=3.0)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.set_serving()
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=3.0)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
