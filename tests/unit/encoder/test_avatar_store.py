"""The disk store: survives restarts, crashes and damage, and keeps to its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parlante.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from parlante.types import AvatarInfo, AvatarLatents, Framing
from services.encoder.store import AvatarStore, check_name

KEY_A, KEY_B = "aa" * 32, "bb" * 32
LatentsOf = Callable[..., AvatarLatents]


def info(name: str, key: str = KEY_A) -> AvatarInfo:
    return AvatarInfo(
        name=name,
        key=key,
        bundle_digest="d" * 64,
        created_unix_ms=1,
        source_width_px=10,
        source_height_px=20,
        latent_bytes=1000,
    )


@pytest.fixture
def store(tmp_path: Path) -> AvatarStore:
    return AvatarStore(tmp_path / "store")


def latents_file(tmp_path: Path, key: str = KEY_A) -> Path:
    return tmp_path / "store" / "latents" / f"{key}.avatar"


def test_latents_survive_a_restart(
    store: AvatarStore, tmp_path: Path, latents_of: LatentsOf
) -> None:
    latents = latents_of(KEY_A)
    store.save_latents(latents)
    found = AvatarStore(tmp_path / "store").load_latents(KEY_A)
    assert found is not None
    assert found.spec == latents.spec
    np.testing.assert_array_equal(found.tensors["image"], latents.tensors["image"])
    assert not found.tensors["image"].flags.writeable


def test_unknown_key_is_a_miss(store: AvatarStore) -> None:
    assert store.load_latents(KEY_A) is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_latents_are_a_miss_and_removed(
    store: AvatarStore, tmp_path: Path, latents_of: LatentsOf, share: float
) -> None:
    store.save_latents(latents_of(KEY_A))
    path = latents_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert store.load_latents(KEY_A) is None
    assert not path.exists()


def test_flipped_bit_is_a_miss(store: AvatarStore, tmp_path: Path, latents_of: LatentsOf) -> None:
    store.save_latents(latents_of(KEY_A))
    path = latents_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)
    assert store.load_latents(KEY_A) is None


@pytest.mark.parametrize("key", ["", "../" * 5 + "etc/passwd", "A" * 64, KEY_A + "\n"])
def test_key_that_is_no_digest_reaches_no_file(store: AvatarStore, key: str) -> None:
    with pytest.raises(NotFound):
        store.load_latents(key)


def test_name_survives_a_restart(store: AvatarStore, tmp_path: Path) -> None:
    store.bind(info("anna"))
    assert AvatarStore(tmp_path / "store").load_info("anna") == info("anna")


def test_same_key_may_be_bound_again_and_keeps_its_date(store: AvatarStore) -> None:
    first = store.bind(info("anna"))
    assert store.bind(info("anna")) == first


def test_name_of_another_key_is_taken(store: AvatarStore) -> None:
    store.bind(info("anna"))
    with pytest.raises(AlreadyExists) as caught:
        store.bind(info("anna", KEY_B))
    assert caught.value.reason == "AVATAR_NAME_TAKEN"
    assert store.load_info("anna").key == KEY_A


def test_name_held_by_another_model_bundle_is_given_anew(store: AvatarStore) -> None:
    store.bind(replace(info("anna"), bundle_digest="old"))
    store.bind(info("anna", KEY_B))
    assert store.load_info("anna").key == KEY_B


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "../a", "a/b", "a" * 64, "ä", "a\n", "a\0"]
)
def test_name_that_is_no_dns_label_is_refused(store: AvatarStore, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(name)
    assert caught.value.reason == "BAD_AVATAR_NAME"
    with pytest.raises(InvalidInput):
        store.load_info(name)


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
def test_dns_label_is_a_name(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": "anna"}', b"\xff\xfe"])
def test_damaged_name_entry_is_a_miss_and_removed(
    store: AvatarStore, tmp_path: Path, content: bytes
) -> None:
    store.bind(info("anna"))
    path = tmp_path / "store" / "names" / "anna.json"
    path.write_bytes(content)
    with pytest.raises(NotFound):
        store.load_info("anna")
    assert not path.exists()
    assert store.bind(info("anna", KEY_B)).key == KEY_B


def test_entry_under_another_name_is_not_believed(store: AvatarStore, tmp_path: Path) -> None:
    store.bind(info("anna"))
    names = tmp_path / "store" / "names"
    (names / "bea.json").write_bytes((names / "anna.json").read_bytes())
    with pytest.raises(NotFound):
        store.load_info("bea")


def test_latents_go_with_their_last_name(
    store: AvatarStore, tmp_path: Path, latents_of: LatentsOf
) -> None:
    store.save_latents(latents_of(KEY_A))
    store.bind(info("anna"))
    store.bind(info("bea"))
    assert store.unbind("anna") == (KEY_A, False)
    assert latents_file(tmp_path).exists()
    assert store.unbind("bea") == (KEY_A, True)
    assert not latents_file(tmp_path).exists()


def test_unknown_name_cannot_be_forgotten(store: AvatarStore) -> None:
    with pytest.raises(NotFound):
        store.unbind("anna")


def test_pages_cover_all_names_in_order(store: AvatarStore) -> None:
    names = [f"n{i}" for i in range(7)]
    for name in reversed(names):
        store.bind(info(name))
    seen: list[str] = []
    token = ""
    for _ in range(4):
        page, token = store.list_infos(page_size=2, page_token=token)
        seen += [item.name for item in page]
    assert seen == names
    assert token == ""


def test_page_goes_on_after_a_deleted_name(store: AvatarStore) -> None:
    for name in "abcd":
        store.bind(info(name))
    _, token = store.list_infos(page_size=2, page_token="")
    store.unbind("b")
    page, _ = store.list_infos(page_size=2, page_token=token)
    assert [item.name for item in page] == ["c", "d"]


@pytest.mark.parametrize("token", ["!", "Li4vLi4v", "ÿ", "a" * 1000])
def test_forged_page_token_is_refused(store: AvatarStore, token: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        store.list_infos(page_size=2, page_token=token)
    assert caught.value.reason == "BAD_PAGE_TOKEN"


@pytest.mark.parametrize("size", [0, -1, 1001])
def test_page_size_is_bounded(store: AvatarStore, size: int) -> None:
    with pytest.raises(InvalidInput):
        store.list_infos(page_size=size, page_token="")


def test_left_over_of_a_crash_is_not_listed(store: AvatarStore, tmp_path: Path) -> None:
    (tmp_path / "store" / "names" / ".part-xyz.json").write_text("{}")
    assert store.list_infos(page_size=10, page_token="") == ([], "")


def test_failed_write_leaves_nothing_behind(
    store: AvatarStore, tmp_path: Path, latents_of: LatentsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.encoder.store.os.fsync", refuse)
    with pytest.raises(Unavailable, match="No space left"):
        store.save_latents(latents_of(KEY_A))
    assert list((tmp_path / "store" / "latents").iterdir()) == []


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable) as caught:
        AvatarStore(tmp_path / "file" / "store")
    assert caught.value.reason == "STORE_UNWRITABLE"


def test_framing_is_kept_and_entries_without_one_show_the_head(
    store: AvatarStore, tmp_path: Path
) -> None:
    store.bind(replace(info("wide"), framing=Framing.SHOULDERS))
    assert store.load_info("wide").framing is Framing.SHOULDERS
    path = tmp_path / "store" / "names" / "wide.json"
    path.write_text(path.read_text().replace(', "framing": "shoulders"', ""))
    assert store.load_info("wide").framing is Framing.HEAD
    path.write_text("[]")
    with pytest.raises(NotFound):
        store.load_info("wide")
