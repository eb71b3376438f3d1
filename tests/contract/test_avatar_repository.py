"""What every store of avatars does, a folder or a bucket of a real S3 server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pytest

pytest.importorskip("obstore")

from parlante.errors import AlreadyExists, InvalidInput, NotFound
from parlante.types import (
    AVATAR_SPACE,
    AvatarInfo,
    AvatarLatents,
    Framing,
    LatentSpec,
    TensorSpec,
)
from services.encoder.entries import AvatarRepository
from services.encoder.object_store import ObjectStore
from services.encoder.store import AvatarStore
from tests.fakes.s3_server import BUCKET, CREDENTIALS, get_object, put_object, s3_server

KEY_A, KEY_B = "aa" * 32, "bb" * 32
DIGEST = "d" * 64


def info(name: str, key: str = KEY_A) -> AvatarInfo:
    return AvatarInfo(
        name=name,
        key=key,
        bundle_digest=DIGEST,
        created_unix_ms=1,
        source_width_px=10,
        source_height_px=20,
        latent_bytes=1000,
    )


def latents_of(key: str, num_bytes: int = 1000) -> AvatarLatents:
    tensor = np.full(num_bytes, int(key[:2], 16), np.uint8)
    spec = LatentSpec(
        space=AVATAR_SPACE,
        bundle_digest=DIGEST,
        tensors=(TensorSpec(name="image", dtype="uint8", shape=(num_bytes,)),),
    )
    return AvatarLatents(key=key, spec=spec, tensors=MappingProxyType({"image": tensor}))


class Place(Protocol):
    """Where a store keeps its things, for tests that look behind it."""

    def open(self) -> AvatarRepository:
        """Open the store, as another process would."""
        ...

    def path_of_name(self, name: str) -> str:
        """Where the entry of a name is."""
        ...

    def read(self, path: str) -> bytes | None:
        """Read past the store."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write past the store."""
        ...


@dataclass(frozen=True)
class Folder:
    root: Path

    def open(self) -> AvatarRepository:
        return AvatarStore(self.root)

    def path_of_name(self, name: str) -> str:
        return f"names/{name}.json"

    def read(self, path: str) -> bytes | None:
        return (self.root / path).read_bytes() if (self.root / path).exists() else None

    def write(self, path: str, content: bytes) -> None:
        (self.root / path).write_bytes(content)


@dataclass(frozen=True)
class Bucket:
    endpoint: str
    prefix: str

    def open(self) -> AvatarRepository:
        return ObjectStore(f"s3://{BUCKET}/{self.prefix}", endpoint=self.endpoint)

    def path_of_name(self, name: str) -> str:
        return f"names/{name}"

    def read(self, path: str) -> bytes | None:
        return get_object(self.endpoint, f"{self.prefix}/{path}")

    def write(self, path: str, content: bytes) -> None:
        put_object(self.endpoint, f"{self.prefix}/{path}", content)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        return Folder(tmp_path / "store")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Bucket(request.getfixturevalue("endpoint"), f"test/{uuid.uuid4().hex}")


@pytest.fixture
def store(place: Place) -> AvatarRepository:
    return place.open()


def latents_path(key: str = KEY_A) -> str:
    return f"latents/{key}.avatar"


def test_latents_survive_a_restart(store: AvatarRepository, place: Place) -> None:
    latents = latents_of(KEY_A)
    assert not store.has_latents(KEY_A)
    store.save_latents(latents)
    assert store.has_latents(KEY_A)
    found = place.open().load_latents(KEY_A)
    assert found is not None
    assert found.spec == latents.spec
    np.testing.assert_array_equal(found.tensors["image"], latents.tensors["image"])
    assert not found.tensors["image"].flags.writeable


def test_latents_may_be_saved_again(store: AvatarRepository) -> None:
    for _ in range(2):
        store.save_latents(latents_of(KEY_A))
    assert store.load_latents(KEY_A) is not None


def test_unknown_key_is_a_miss(store: AvatarRepository) -> None:
    assert store.load_latents(KEY_A) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_latents_are_a_miss_and_removed(
    store: AvatarRepository, place: Place, share: float
) -> None:
    store.save_latents(latents_of(KEY_A))
    content = place.read(latents_path())
    assert content is not None
    place.write(latents_path(), content[: int(len(content) * share)])
    assert store.load_latents(KEY_A) is None
    assert place.read(latents_path()) is None


def test_flipped_bit_is_a_miss(store: AvatarRepository, place: Place) -> None:
    store.save_latents(latents_of(KEY_A))
    content = bytearray(place.read(latents_path()) or b"")
    content[-300] ^= 1
    place.write(latents_path(), bytes(content))
    assert store.load_latents(KEY_A) is None


def test_latents_under_another_key_are_never_taken(store: AvatarRepository, place: Place) -> None:
    store.save_latents(latents_of(KEY_A))
    place.write(latents_path(KEY_B), place.read(latents_path()) or b"")
    assert store.load_latents(KEY_B) is None


def test_damaged_latents_are_written_anew(store: AvatarRepository, place: Place) -> None:
    place.open()
    store.save_latents(latents_of(KEY_A))
    place.write(latents_path(), b"rubbish")
    store.save_latents(latents_of(KEY_A))
    assert place.open().load_latents(KEY_A) is not None


@pytest.mark.parametrize("key", ["", "../" * 5 + "etc/passwd", "A" * 64, KEY_A + "\n"])
def test_key_that_is_no_digest_reaches_nothing(store: AvatarRepository, key: str) -> None:
    with pytest.raises(NotFound):
        store.load_latents(key)


def test_name_survives_a_restart(store: AvatarRepository, place: Place) -> None:
    store.bind(info("anna"))
    assert place.open().load_info("anna") == info("anna")


def test_same_key_may_be_bound_again_and_keeps_its_date(store: AvatarRepository) -> None:
    first = store.bind(info("anna"))
    assert store.bind(replace(info("anna"), created_unix_ms=2)) == first


def test_name_of_another_key_is_taken(store: AvatarRepository) -> None:
    store.bind(info("anna"))
    with pytest.raises(AlreadyExists) as caught:
        store.bind(info("anna", KEY_B))
    assert caught.value.reason == "AVATAR_NAME_TAKEN"
    assert store.load_info("anna").key == KEY_A


def test_name_held_by_another_model_bundle_is_given_anew(store: AvatarRepository) -> None:
    store.bind(replace(info("anna"), bundle_digest="old"))
    store.bind(info("anna", KEY_B))
    assert store.load_info("anna").key == KEY_B


def test_one_of_many_at_once_gets_the_name(place: Place) -> None:
    stores = [place.open() for _ in range(4)]
    keys = [f"{index:02x}" * 32 for index in range(len(stores))]

    def bind(index: int) -> str:
        try:
            return stores[index].bind(info("anna", keys[index])).key
        except AlreadyExists:
            return ""

    with ThreadPoolExecutor(len(stores)) as threads:
        holders = list(threads.map(bind, range(len(stores))))
    (winner,) = [key for key in holders if key]
    assert place.open().load_info("anna").key == winner


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "anna"}', b"\xff\xfe"])
def test_damaged_name_entry_is_a_miss_and_given_anew(
    store: AvatarRepository, place: Place, content: bytes
) -> None:
    store.bind(info("anna"))
    place.write(place.path_of_name("anna"), content)
    with pytest.raises(NotFound):
        store.load_info("anna")
    assert store.list_infos(page_size=10, page_token="") == ([], "")
    assert store.bind(info("anna", KEY_B)).key == KEY_B
    assert store.load_info("anna").key == KEY_B


def test_entry_under_another_name_is_not_believed(store: AvatarRepository, place: Place) -> None:
    store.bind(info("anna"))
    place.write(place.path_of_name("bea"), place.read(place.path_of_name("anna")) or b"")
    with pytest.raises(NotFound):
        store.load_info("bea")


def test_latents_go_with_their_last_name(store: AvatarRepository, place: Place) -> None:
    store.save_latents(latents_of(KEY_A))
    store.bind(info("anna"))
    store.bind(info("bea"))
    assert store.unbind("anna") == (KEY_A, False)
    assert place.read(latents_path()) is not None
    assert store.unbind("bea") == (KEY_A, True)
    assert place.read(latents_path()) is None


def test_a_name_that_was_refused_does_not_keep_latents(
    store: AvatarRepository, place: Place
) -> None:
    store.bind(info("anna"))
    store.bind(info("bea", KEY_B))
    store.save_latents(latents_of(KEY_A))
    with pytest.raises(AlreadyExists):
        store.bind(info("bea", KEY_A))
    assert store.unbind("anna") == (KEY_A, True)


def test_unknown_name_cannot_be_forgotten(store: AvatarRepository) -> None:
    with pytest.raises(NotFound):
        store.unbind("anna")


def test_pages_cover_all_names_in_order(store: AvatarRepository) -> None:
    names = ["a", "a-b", "a0", "b", "n1", "n10", "n2"]
    for name in reversed(names):
        store.bind(info(name))
    seen: list[str] = []
    token = ""
    for _ in range(4):
        page, token = store.list_infos(page_size=2, page_token=token)
        seen += [item.name for item in page]
    assert seen == sorted(names)
    assert token == ""


def test_page_goes_on_after_a_deleted_name(store: AvatarRepository) -> None:
    for name in "abcd":
        store.bind(info(name))
    _, token = store.list_infos(page_size=2, page_token="")
    store.unbind("b")
    page, _ = store.list_infos(page_size=2, page_token=token)
    assert [item.name for item in page] == ["c", "d"]


@pytest.mark.parametrize("token", ["!", "Li4vLi4v", "ÿ", "a" * 1000])
def test_forged_page_token_is_refused(store: AvatarRepository, token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        store.list_infos(page_size=2, page_token=token)
    assert caught.value.reason == "BAD_PAGE_TOKEN"


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_page_size_is_bounded(store: AvatarRepository, size: int) -> None:
    with pytest.raises(InvalidInput):
        store.list_infos(page_size=size, page_token="")


def test_framing_is_kept_and_entries_without_one_show_the_head(
    store: AvatarRepository, place: Place
) -> None:
    store.bind(replace(info("wide"), framing=Framing.SHOULDERS))
    assert store.load_info("wide").framing is Framing.SHOULDERS
    path = place.path_of_name("wide")
    content = place.read(path) or b""
    place.write(path, content.replace(b', "framing": "shoulders"', b""))
    assert store.load_info("wide").framing is Framing.HEAD
    place.write(path, b"[]")
    with pytest.raises(NotFound):
        store.load_info("wide")
