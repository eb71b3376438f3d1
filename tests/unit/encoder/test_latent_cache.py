"""The memory cache: bounded in bytes, least recently used first."""

from __future__ import annotations

from collections.abc import Callable

from parlante.types import AvatarLatents
from services.encoder.cache import LatentCache

KEYS = [f"{i:02x}" * 32 for i in range(5)]
LatentsOf = Callable[..., AvatarLatents]


def test_cache_gives_what_was_put(latents_of: LatentsOf) -> None:
    cache = LatentCache(5000)
    latents = latents_of(KEYS[0])
    cache.put(latents)
    assert cache.get(KEYS[0]) is latents
    assert cache.get(KEYS[1]) is None


def test_cache_stays_within_its_bytes(latents_of: LatentsOf) -> None:
    cache = LatentCache(3500)
    for key in KEYS:
        cache.put(latents_of(key))
    assert cache.num_bytes == 3000
    assert [key for key in KEYS if cache.get(key)] == KEYS[2:]


def test_use_protects_from_removal(latents_of: LatentsOf) -> None:
    cache = LatentCache(2000)
    cache.put(latents_of(KEYS[0]))
    cache.put(latents_of(KEYS[1]))
    cache.get(KEYS[0])
    cache.put(latents_of(KEYS[2]))
    assert cache.get(KEYS[0]) is not None
    assert cache.get(KEYS[1]) is None


def test_same_key_is_counted_once(latents_of: LatentsOf) -> None:
    cache = LatentCache(5000)
    cache.put(latents_of(KEYS[0]))
    cache.put(latents_of(KEYS[0], 2000))
    assert (len(cache), cache.num_bytes) == (1, 2000)


def test_too_large_latents_leave_the_others_alone(latents_of: LatentsOf) -> None:
    cache = LatentCache(2500)
    cache.put(latents_of(KEYS[0]))
    cache.put(latents_of(KEYS[1], 9000))
    assert cache.get(KEYS[0]) is not None
    assert cache.get(KEYS[1]) is None


def test_removed_latents_free_their_bytes(latents_of: LatentsOf) -> None:
    cache = LatentCache(2500)
    cache.put(latents_of(KEYS[0]))
    cache.remove(KEYS[0])
    cache.remove(KEYS[1])
    assert (len(cache), cache.num_bytes) == (0, 0)
