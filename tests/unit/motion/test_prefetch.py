"""Batches drawn ahead: the same whoever draws them, and nobody is left behind."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import pytest

from parlante.training.prefetch import Arrays, drawn

STEPS = range(3, 14)


def _draw(step: int) -> Arrays:
    rng = np.random.default_rng((7, step))
    if step % 3 == 0:
        time.sleep(0.01)  # some take longer: their turn comes all the same
    first = (rng.normal(size=(step, 5)).astype(np.float32), rng.integers(0, 9, 3))
    return first if step < 6 else (*first, rng.random(4) < 0.5)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 5, 40])
def test_batches_come_in_order_and_do_not_depend_on_who_draws(num_workers: int) -> None:
    with drawn(_draw, STEPS, num_workers) as batches:
        for step, batch in zip(STEPS, batches, strict=True):
            wanted = _draw(step)
            assert len(batch) == len(wanted)
            for got, array in zip(batch, wanted, strict=True):
                assert got.dtype == array.dtype
                np.testing.assert_array_equal(got, array)
    assert not multiprocessing.active_children()


def test_no_more_is_drawn_ahead_than_there_is_room_for() -> None:
    counter = multiprocessing.get_context("fork").Value("i", 0)

    def draw(step: int) -> Arrays:
        with counter.get_lock():
            counter.value += 1
        return (np.full(3, step),)

    with drawn(draw, range(100), 2) as batches:
        next(batches)
        time.sleep(0.3)
        assert counter.value <= 1 + 4  # one tells the size
        assert int(next(batches)[0][0]) == 1


def test_workers_end_with_a_run_that_fails_while_they_draw() -> None:
    def draw(step: int) -> Arrays:
        if step != 99:
            time.sleep(30.0)
        return (np.zeros(1),)

    started = time.monotonic()

    def fail() -> None:
        with drawn(draw, range(100), 3):
            assert len(multiprocessing.active_children()) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not multiprocessing.active_children()
    assert time.monotonic() - started < 10.0


def test_an_error_of_a_worker_names_step_and_cause() -> None:
    def draw(step: int) -> Arrays:
        if step == 4:
            raise ValueError("no such crop")
        return (np.zeros(1),)

    with drawn(draw, STEPS, 2) as batches:
        next(batches)
        with pytest.raises(RuntimeError, match=r"(?s)step 4 failed.*no such crop"):
            next(batches)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_is_told_of() -> None:
    def draw(step: int) -> Arrays:
        if step == 4:
            os._exit(9)
        return (np.zeros(1),)

    with drawn(draw, STEPS, 2) as batches:
        next(batches)
        with pytest.raises(RuntimeError, match="step 4 ended with code 9"):
            next(batches)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with (
        drawn(lambda step: (np.zeros(2000 - 100 * step),), range(10), 1) as batches,
        pytest.raises(RuntimeError, match="must not be larger than the last"),
    ):
        next(batches)
