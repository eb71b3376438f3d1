"""The bucket as the truth: faults of reading are misses, those of writing are errors, in time."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("obstore")

from parlante.errors import InvalidInput, Unavailable
from parlante.types import AvatarInfo, AvatarLatents
from services.encoder import object_store
from services.encoder.__main__ import open_store
from services.encoder.config import EncoderServiceConfig
from services.encoder.engine import EncoderEngine
from services.encoder.object_store import ObjectStore
from tests.fakes.s3_server import BUCKET, CREDENTIALS, get_object, put_object, s3_server
from tests.unit.encoder.conftest import DIGEST, FakeMaker

KEY = "aa" * 32
INFO = AvatarInfo(
    name="anna",
    key=KEY,
    bundle_digest=DIGEST,
    created_unix_ms=1,
    source_width_px=10,
    source_height_px=20,
    latent_bytes=1000,
)
LatentsOf = Callable[..., AvatarLatents]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(endpoint: str, prefix: str) -> ObjectStore:
    return ObjectStore(f"s3://{BUCKET}/{prefix}", endpoint=endpoint)


async def test_replicas_share_a_bucket(
    endpoint: str, prefix: str, maker: FakeMaker, pictures: list[bytes]
) -> None:
    url = f"s3://{BUCKET}/{prefix}"

    def engine() -> EncoderEngine:
        config = EncoderServiceConfig(store_url=url, store_endpoint=endpoint)
        return EncoderEngine(open_store(config), lambda: maker, DIGEST)

    async with engine() as first, engine() as second:
        made = await first.create(pictures[0], name="anna")
        assert (await second.get("anna")).key == made.key
        latents = await second.latents(made.key)
        assert latents.key == made.key
        again = await second.create(pictures[0], name="bea")
        assert again.from_cache
        assert [item.name for item in (await first.list())[0]] == ["anna", "bea"]
        for name in ("anna", "bea"):
            await second.delete(name)
        assert get_object(endpoint, f"{prefix}/latents/{made.key}.avatar") is None
    assert maker.num_calls == 1


def test_what_is_there_is_never_written_over(
    store: ObjectStore, endpoint: str, prefix: str, latents_of: LatentsOf
) -> None:
    store.save_latents(latents_of(KEY))
    path = f"{prefix}/latents/{KEY}.avatar"
    before = get_object(endpoint, path)
    assert before is not None
    # Other bytes of the same key: whoever came first stays.
    store.save_latents(latents_of(KEY, 500))
    assert get_object(endpoint, path) == before


def test_objects_that_are_too_large_are_not_read(
    store: ObjectStore, endpoint: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "MAX_LATENTS_BYTES", 100)
    put_object(endpoint, f"{prefix}/latents/{KEY}.avatar", b"x" * 101)
    assert store.load_latents(KEY) is None
    put_object(endpoint, f"{prefix}/names/anna", b"x" * (object_store.MAX_ENTRY_BYTES + 1))
    assert store.bind(INFO) == INFO


def test_a_name_given_anew_lets_go_of_its_old_latents(store: ObjectStore) -> None:
    old = AvatarInfo(**{**_fields(INFO), "key": "bb" * 32, "bundle_digest": "old"})
    store.bind(old)
    store.bind(INFO)
    assert not list(store._paths(f"refs/{old.key}/", after=""))
    assert list(store._paths(f"refs/{KEY}/", after="")) == [f"refs/{KEY}/anna"]


def test_a_store_that_goes_away_is_a_miss_for_latents_and_an_error_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, latents_of: LatentsOf
) -> None:
    monkeypatch.setattr(object_store, "_MAX_RETRIES", 0)
    with s3_server() as endpoint:
        store = ObjectStore(f"s3://{BUCKET}", endpoint=endpoint, request_timeout_s=1.0)
        store.bind(INFO)
        store.save_latents(latents_of(KEY))
    assert store.load_latents(KEY) is None
    with pytest.raises(Unavailable) as unreachable:
        store.load_info("anna")
    assert unreachable.value.reason == "STORE_UNREACHABLE"
    assert unreachable.value.retry_after_ms
    with pytest.raises(Unavailable, match="does not answer"):
        store.list_infos(page_size=1, page_token="")
    for write in (
        lambda: store.save_latents(latents_of("cc" * 32)),
        lambda: store.bind(INFO),
    ):
        with pytest.raises(Unavailable) as refused:
            write()
        assert refused.value.reason == "STORE_UNWRITABLE"


def test_a_store_that_says_nothing_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_MAX_RETRIES", 0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started_s = time.monotonic()
        with pytest.raises(Unavailable) as unreachable:
            ObjectStore(
                f"s3://{BUCKET}",
                endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
                request_timeout_s=0.3,
            )
        assert time.monotonic() - started_s < object_store.REQUEST_TIMEOUT_S
    assert unreachable.value.reason == "STORE_UNREACHABLE"


def test_a_bucket_that_is_not_there_is_found_at_the_start(endpoint: str) -> None:
    with pytest.raises(Unavailable) as missing:
        ObjectStore("s3://no-such-bucket", endpoint=endpoint)
    assert missing.value.reason == "STORE_UNREACHABLE"


@pytest.mark.parametrize(
    "settings",
    [
        {"store_url": "gs://bucket"},
        {"store_url": "s3://"},
        {"store_url": "s3://bucket/../other"},
        {"store_url": "s3://bucket?x=1"},
        {"store_url": "s3://bucket", "store_endpoint": "server:9000"},
        {"store_url": "s3://bucket", "store_endpoint": "https://user:word@server"},
        {"store_endpoint": "https://server"},
        {"store_region": "eu-west-1"},
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        EncoderServiceConfig(**settings)
    assert refused.value.reason == "BAD_SETTING"


def _fields(info: AvatarInfo) -> dict[str, object]:
    return {name: getattr(info, name) for name in info.__dataclass_fields__}
