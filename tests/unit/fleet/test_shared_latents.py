"""The shared cache against a real Redis server: a fault is a miss, a wrong face is impossible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("redis")

from parlante.errors import InvalidInput, NotFound
from parlante.fleet import shared_latents
from parlante.fleet.shared_latents import RedisLatents, SharedLatents
from parlante.types import AvatarLatents
from tests.fakes.encoder import FakeEncoder, portrait_bytes
from tests.fakes.redis_server import PASSWORD, RedisServer, has_redis
from tests.fakes.wire import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    if not has_redis():
        pytest.skip("there is no redis-server; on Debian: apt-get install -y redis-server")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.stop()


@pytest_asyncio.fixture
async def cache(server: RedisServer) -> AsyncIterator[RedisLatents]:
    # A busy machine may take longer than a session would wait.
    cache = RedisLatents(server.url, read_timeout_s=2.0)
    yield cache
    await cache.aclose()


async def _latents(label: str = "anna") -> tuple[FakeEncoder, AvatarLatents]:
    encoder = FakeEncoder()
    info = await encoder.create(portrait_bytes(label))
    latents = await encoder.latents(info.key)
    encoder.num_fetched = 0
    return encoder, latents


async def test_latents_come_back_as_they_were(cache: RedisLatents, server: RedisServer) -> None:
    _, latents = await _latents()
    assert await cache.get(latents.key) is None
    await cache.put(latents)
    found = await cache.get(latents.key)
    assert found is not None
    assert found.spec == latents.spec
    assert all((found.tensors[name] == latents.tensors[name]).all() for name in latents.tensors)
    assert not found.tensors["image"].flags.writeable
    assert len(server.names()) >= 3  # a head and the chunks of 1.8 MB
    assert all(server.client.strlen(name) <= shared_latents.CHUNK_BYTES for name in server.names())
    assert not any(latents.key in name for name in server.names())
    assert all(0 < server.client.ttl(name) <= shared_latents.TTL_S for name in server.names())


async def test_what_is_there_is_not_written_again(cache: RedisLatents, server: RedisServer) -> None:
    _, latents = await _latents()
    await cache.put(latents)
    before = server.client.info("commandstats")["cmdstat_set"]["calls"]
    await cache.put(latents)
    assert server.client.info("commandstats")["cmdstat_set"]["calls"] == before


async def test_the_encoders_are_asked_once_however_many_ask(cache: RedisLatents) -> None:
    encoder, latents = await _latents()
    shared = SharedLatents(cache, encoder)
    results = await asyncio.gather(*(shared.latents(latents.key) for _ in range(5)))
    assert {one.key for one in results} == {latents.key}
    assert encoder.num_fetched == 1
    await asyncio.gather(*shared._writes)
    await shared.latents(latents.key)
    assert encoder.num_fetched == 1
    await shared.aclose()


async def _check_miss(cache: RedisLatents, encoder: FakeEncoder, latents: AvatarLatents) -> None:
    """Whatever was done to the cache: the right latents come, from the encoder."""
    shared = SharedLatents(cache, encoder)
    found = await shared.latents(latents.key)
    assert found.key == latents.key
    assert (found.tensors["image"] == latents.tensors["image"]).all()
    assert encoder.num_fetched == 1
    await shared.aclose()


async def test_a_damaged_value_is_a_miss_and_goes(cache: RedisLatents, server: RedisServer) -> None:
    encoder, latents = await _latents()
    await cache.put(latents)
    chunk = next(name for name in server.names() if name.endswith(":0"))
    server.client.setrange(chunk, 5000, b"damage")
    await _check_miss(cache, encoder, latents)


async def test_an_evicted_chunk_is_a_miss(cache: RedisLatents, server: RedisServer) -> None:
    encoder, latents = await _latents()
    await cache.put(latents)
    server.client.delete(next(name for name in server.names() if name.endswith(":1")))
    await _check_miss(cache, encoder, latents)


async def test_another_avatar_under_this_name_is_a_miss(
    cache: RedisLatents, server: RedisServer
) -> None:
    encoder, latents = await _latents("anna")
    _, other = await _latents("bea")
    await cache.put(other)
    for name in server.names():
        part = name.rpartition(":")[2]
        server.client.rename(name, shared_latents._name(latents.key, part))
    await _check_miss(cache, encoder, latents)


async def test_rubbish_of_the_right_type_is_a_miss(
    cache: RedisLatents, server: RedisServer
) -> None:
    encoder, latents = await _latents()
    server.client.set(shared_latents._name(latents.key, "head"), b"\xff" * 8)
    await _check_miss(cache, encoder, latents)
    server.client.delete(shared_latents._name(latents.key, "head"))
    server.client.lpush(shared_latents._name(latents.key, "head"), b"a list")
    encoder.num_fetched = 0
    await _check_miss(cache, encoder, latents)


async def test_a_server_that_is_gone_costs_one_short_wait(
    cache: RedisLatents, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, latents = await _latents()
    await cache.put(latents)
    server.stop()
    await _check_miss(cache, encoder, latents)
    loop = asyncio.get_running_loop()
    assert cache._asleep_until_s > loop.time()  # nobody else waits for it
    monkeypatch.setattr(cache, "_asleep_until_s", 0.0)
    server.start()
    await cache.put(latents)
    assert await cache.get(latents.key) is not None


async def test_a_server_that_hangs_is_a_miss(server: RedisServer) -> None:
    encoder, latents = await _latents()
    cache = RedisLatents(server.url, read_timeout_s=0.1)
    server.client.execute_command("CLIENT", "PAUSE", "1500", "ALL")
    await _check_miss(cache, encoder, latents)
    await cache.aclose()


async def test_a_wrong_password_is_a_miss(server: RedisServer) -> None:
    encoder, latents = await _latents()
    cache = RedisLatents(server.url.replace(PASSWORD, "wrong"), read_timeout_s=2.0)
    await _check_miss(cache, encoder, latents)
    await cache.aclose()


async def test_a_full_server_is_no_error(cache: RedisLatents, server: RedisServer) -> None:
    encoder, latents = await _latents()
    server.client.config_set("maxmemory", "1mb")
    shared = SharedLatents(cache, encoder)
    await shared.latents(latents.key)
    await eventually(lambda: not shared._writes)
    await shared.aclose()


async def test_what_nobody_knows_is_not_found(cache: RedisLatents) -> None:
    shared = SharedLatents(cache, FakeEncoder())
    with pytest.raises(NotFound):
        await shared.latents("0" * 64)
    await shared.aclose()


def test_a_file_without_a_url_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "url"
    for content in (None, "", "http://cache"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(InvalidInput) as refused:
            RedisLatents.from_file(path)
        assert refused.value.reason == "BAD_SETTING"
