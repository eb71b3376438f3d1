"""The files of a data set of synthetic heads, and the flow between two frames of a subject.

A folder holds ``dataset.json`` and one file ``subject-00000.npz`` for each subject;
docs/synthetic-heads.md lists the arrays.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from parlante.errors import InvalidInput, NotFound
from parlante.models.jit import kernel
from parlante.synth.assets import Int32Array
from parlante.types import Float32Array, Uint8Array

__all__ = ["FORMAT_VERSION", "Dataset", "Subject", "flow_between", "open_dataset", "write_subject"]

FORMAT_VERSION: Final = 1
INDEX_FILE: Final = "dataset.json"
PNG_EFFORT: Final = 1
# A point is hidden where the frame shows something nearer by more than this.
DEPTH_TOLERANCE_DM: Final = 0.035
FULL_WEIGHT: Final = 65535.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """One person in F frames; pictures are decoded when they are asked for.

    Frame 0 is the source portrait.

    Attributes:
        landmarks: float32 [F, 478, 3], px; z towards the back; see `FaceLandmarks.points`.
        visible: bool [F, 468], not hidden by the head itself.
        pose: float32 [F, 6], order and signs of `POSE_CHANNELS`; shift and log scale relative to
            frame 0's camera with the head at rest.
        gaze: float32 [F, 2], yaw and pitch of the eyes in the head, rad.
        units: float32 [F, U], weights of the rig's pose units.
        unit_names: Their names.
        arkit: float32 [F, 52], in the order of `ARKIT_CHANNELS`.
        metadata: Sex, age, tone, hair, light and so on.
        arrays: What the file holds.
    """

    landmarks: Float32Array
    visible: npt.NDArray[np.bool_]
    pose: Float32Array
    gaze: Float32Array
    units: Float32Array
    unit_names: tuple[str, ...]
    arkit: Float32Array
    metadata: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    @property
    def num_frames(self) -> int:
        """F."""
        return len(self.pose)

    def image(self, frame: int) -> Uint8Array:
        """The picture: uint8 [H, W, 3], RGB."""
        return _decode(self._array("image", frame), colour=True)

    def parts(self, frame: int) -> Uint8Array:
        """Label of each pixel: uint8 [H, W]; see `Part`."""
        return _decode(self._array("parts", frame))

    def matte(self, frame: int) -> Uint8Array:
        """Opacity of the person: uint8 [H, W]."""
        return _decode(self._array("matte", frame))

    def depth(self, frame: int) -> Float32Array:
        """Distance behind the middle of the head, dm; float32 [H, W], infinite = background."""
        return self._array("depth", frame).astype(np.float32)

    def surface(self, frame: int) -> npt.NDArray[np.uint16]:
        """Surface point of each pixel: uint16 [H, W, 3].

        Triangle + 1 (0 = none), then the weights of its first two corners times 65535.
        """
        packed = cv2.imdecode(self._array("surface", frame), cv2.IMREAD_UNCHANGED)
        return np.asarray(packed, np.uint16)

    def _array(self, name: str, frame: int) -> npt.NDArray[Any]:
        key = f"{name}_{frame}"
        if key not in self.arrays:
            raise NotFound(
                f"the subject has frames 0 to {self.num_frames - 1} and no {key}",
                reason="NO_SUCH_FRAME",
                field="frame",
            )
        return self.arrays[key]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A folder of subjects.

    Attributes:
        folder: Where it is.
        files: One for each subject, sorted by number.
        info: Content of ``dataset.json``: version, seed, sizes, options.
    """

    folder: Path
    files: tuple[Path, ...]
    info: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.files)

    def subject(self, index: int) -> Subject:
        """Read the index-th subject that is there.

        Raises:
            NotFound: There is none of this index.
            InvalidInput: The file is broken.
        """
        if not 0 <= index < len(self.files):
            raise NotFound(
                f"the data set has subjects 0 to {len(self) - 1}; got {index}",
                reason="NO_SUCH_SUBJECT",
                field="subject",
            )
        return read_subject(self.files[index])


def open_dataset(folder: Path) -> Dataset:
    """Open a data set.

    Raises:
        NotFound: The folder holds none.
        InvalidInput: It is of another version.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise NotFound(
            f"no {INDEX_FILE} in {folder}; make a data set with `parlante synth`",
            reason="NO_DATASET",
            field="folder",
        )
    info = json.loads(path.read_text("utf-8"))
    if info.get("version") != FORMAT_VERSION:
        raise InvalidInput(
            f"{path} has version {info.get('version')!r}, this reads {FORMAT_VERSION}; "
            "make the data set again",
            reason="OTHER_DATASET_VERSION",
            field="folder",
        )
    return Dataset(folder=folder, files=tuple(sorted(folder.glob("subject-*.npz"))), info=info)


def read_subject(path: Path) -> Subject:
    """Read one file of a data set."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        return Subject(
            landmarks=arrays["landmarks"],
            visible=arrays["visible"],
            pose=arrays["pose"],
            gaze=arrays["gaze"],
            units=arrays["units"],
            unit_names=tuple(arrays["unit_names"].tolist()),
            arkit=arrays["arkit"],
            metadata=json.loads(str(arrays["metadata"])),
            arrays=arrays,
        )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is not a subject of a data set; remove it and run `parlante synth` again",
            reason="BAD_SUBJECT_FILE",
            field="folder",
        ) from error


def write_subject(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a subject's file in one step: a file that is there is whole."""
    temporary = path.with_suffix(".tmp")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            # Pictures are packed already; of the other arrays depth is the one that shrinks.
            kind = zipfile.ZIP_DEFLATED if name.startswith("depth") else zipfile.ZIP_STORED
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # a fixed date: equal content, equal bytes
            info.compress_type = kind
            archive.writestr(info, buffer.getbuffer(), compresslevel=1)
    os.replace(temporary, path)  # noqa: PTH105


def encode_picture(picture: npt.NDArray[Any]) -> Uint8Array:
    """PNG bytes of uint8 [H, W] or [H, W, 3] (RGB), or of uint16 [H, W, 3] as it is."""
    if picture.ndim == 3 and picture.dtype == np.uint8:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, packed = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])
    return np.asarray(packed, np.uint8).ravel()


def _decode(packed: Uint8Array, *, colour: bool = False) -> Uint8Array:
    picture = cv2.imdecode(packed, cv2.IMREAD_COLOR if colour else cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise InvalidInput("a picture of the subject's file is broken", reason="BAD_SUBJECT_FILE")
    return np.asarray(picture[..., ::-1] if colour else picture, np.uint8)


def flow_between(
    subject: Subject, first: int, second: int
) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
    """Where each pixel of one frame lies in another one.

    Args:
        subject: The subject.
        first: Frame whose pixels are asked for.
        second: Frame that they are looked for in.

    Returns:
        float32 [H, W, 2], px to add to (x, y), 0 where frame `first` shows the background; and
        bool [H, W], which pixels of the person `second` shows too.
    """
    surface = subject.surface(first)
    places = subject.arrays["points"][second]
    depth = subject.depth(second) + np.float32(subject.arrays["middle_depth_dm"])
    flow = np.zeros((*surface.shape[:2], 2), np.float32)
    visible = np.zeros(surface.shape[:2], np.bool_)
    _trace(surface, subject.arrays["triangles"], places, depth, flow, visible)
    return flow, visible


@kernel
def _trace(
    surface: npt.NDArray[np.uint16],
    triangles: Int32Array,
    places: Float32Array,
    depth: Float32Array,
    flow: Float32Array,
    visible: npt.NDArray[np.bool_],
) -> None:
    height, width = surface.shape[0], surface.shape[1]
    for y in range(height):
        for x in range(width):
            t = np.int64(surface[y, x, 0]) - 1
            if t < 0:
                continue
            wa = np.float64(surface[y, x, 1]) / FULL_WEIGHT
            wb = np.float64(surface[y, x, 2]) / FULL_WEIGHT
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            # The weights hold in space; in the picture each counts by its distance too.
            na, nb = wa * places[a, 2], wb * places[b, 2]
            nc = (1.0 - wa - wb) * places[c, 2]
            away = na + nb + nc
            px = (na * places[a, 0] + nb * places[b, 0] + nc * places[c, 0]) / away
            py = (na * places[a, 1] + nb * places[b, 1] + nc * places[c, 1]) / away
            flow[y, x, 0] = px - x
            flow[y, x, 1] = py - y
            x0, y0 = int(np.floor(px)), int(np.floor(py))
            for v in range(max(y0, 0), min(y0 + 2, height)):
                for u in range(max(x0, 0), min(x0 + 2, width)):
                    if abs(depth[v, u] - away) < DEPTH_TOLERANCE_DM:
                        visible[y, x] = True
