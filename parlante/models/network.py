"""One small TFLite network behind a plain call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from parlante.types import Float32Array

__all__ = ["TfliteNetwork"]


class TfliteNetwork:
    """A network with one picture as input, on one thread.

    Not safe for use from several threads at once: the owner holds a lock.

    Args:
        path: The ``.tflite`` file.
    """

    def __init__(self, path: Path) -> None:
        # Imported here: a service whose portraits are all known runs no network.
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        # By size, because the names of the outputs say nothing.
        self._outputs = {
            int(np.prod(output["shape"])): int(output["index"])
            for output in self._interpreter.get_output_details()
        }

    @property
    def input_size_px(self) -> int:
        """Height and width of the input, which is square."""
        return int(self._input["shape"][1])

    def __call__(self, picture: npt.NDArray[np.float32]) -> dict[int, Float32Array]:
        """Run the network.

        Args:
            picture: float32 [H, W, 3], in the range that the network was trained on.

        Returns:
            Every output, flat float32, by its number of elements.
        """
        self._interpreter.set_tensor(self._input["index"], picture[None])
        self._interpreter.invoke()
        return {
            size: np.asarray(self._interpreter.get_tensor(index), np.float32).reshape(-1)
            for size, index in self._outputs.items()
        }
