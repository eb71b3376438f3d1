"""Pixel loops compile where no cache can be written, too."""

from __future__ import annotations

import numba

from parlante.models.jit import kernel


def test_kernel_compiles_without_a_place_for_its_cache(monkeypatch):
    compile_function = numba.njit

    def refuse_cache(function, *, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_function(function, **options)

    monkeypatch.setattr(numba, "njit", refuse_cache)

    @kernel
    def double(x: float) -> float:
        return 2.0 * x

    assert double(3.0) == 6.0
