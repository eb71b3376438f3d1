"""Controls that wait for their time on the media clock. Pure state."""

from __future__ import annotations

import bisect
from typing import Final

from parlante.errors import InvalidInput
from parlante.types import Controls

__all__ = ["SteeringQueue"]

MAX_WAITING: Final = 256


class SteeringQueue:
    """Controls by the sample they are due at; the last one written wins."""

    def __init__(self) -> None:
        self._due_samples: list[int] = []
        self._controls: list[Controls] = []

    @property
    def full_until_sample(self) -> int | None:
        """When a full queue has room again; None while it has."""
        return self._due_samples[0] if len(self._controls) >= MAX_WAITING else None

    def put(self, due_sample: int, controls: Controls) -> None:
        """Queue controls, in place of those that are due at the same time.

        Raises:
            InvalidInput: Too many wait already.
        """
        index = bisect.bisect_left(self._due_samples, due_sample)
        if self._due_samples[index : index + 1] == [due_sample]:
            self._controls[index] = controls
            return
        if len(self._controls) >= MAX_WAITING:
            raise InvalidInput(
                f"at most {MAX_WAITING} control updates may wait for their time; "
                "send them nearer to it",
                reason="TOO_MANY_CONTROLS",
                field="control.apply_offset_us",
            )
        self._due_samples.insert(index, due_sample)
        self._controls.insert(index, controls)

    def take_due(self, position_sample: int) -> Controls | None:
        """Take out all that is due at `position_sample`; gives the last, None if there is none."""
        num_due = bisect.bisect_right(self._due_samples, position_sample)
        due = self._controls[:num_due]
        del self._due_samples[:num_due], self._controls[:num_due]
        return due[-1] if due else None
