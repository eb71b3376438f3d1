"""Where a renderer's latents come from: the encoders, behind the fleet's shared cache."""

from __future__ import annotations

from contextlib import AsyncExitStack

from parlante.ports import LatentSource
from services.renderer.config import RendererServiceConfig

__all__ = ["behind_shared_cache"]


async def behind_shared_cache(
    encoder: LatentSource, config: RendererServiceConfig, stack: AsyncExitStack
) -> LatentSource:
    """Put the fleet's shared cache in front of the encoders, if there is one."""
    if config.latent_cache_url_file is None:
        return encoder
    # Imported here: a fleet need not have one.
    from parlante.fleet.shared_latents import RedisLatents, SharedLatents

    cache = RedisLatents.from_file(config.latent_cache_url_file)
    stack.push_async_callback(cache.aclose)
    shared = SharedLatents(cache, encoder)
    stack.push_async_callback(shared.aclose)
    return shared
