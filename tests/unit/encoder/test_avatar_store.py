"""What only the disk store does; see also tests/contract/test_avatar_repository.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from parlante.errors import InvalidInput, Unavailable
from parlante.types import AvatarLatents
from services.encoder.entries import check_name
from services.encoder.store import AvatarStore

KEY_A = "aa" * 32
LatentsOf = Callable[..., AvatarLatents]


@pytest.fixture
def store(tmp_path: Path) -> AvatarStore:
    return AvatarStore(tmp_path / "store")


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
