"""The head pack: meshes, identity targets, face rig and textures of synthetic heads.

Reads the folder described in docs/synthetic-heads.md. Units are decimetres; +x is the character's
left, +y up, +z towards the viewer; texture coordinates start at the bottom left.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.types import Float32Array

__all__ = ["Float64Array", "HeadPack", "Int32Array", "Proxy", "load_pack"]

Int32Array = npt.NDArray[np.int32]
Float64Array = npt.NDArray[np.float64]
Arrays = dict[str, npt.NDArray[Any]]

PROXY_KINDS: Final = (
    "eyes", "cornea", "teeth", "tongue", "lashes", "brows", "hair", "clothes",
)  # fmt: skip
MAX_VERTICES: Final = 65_536  # indexes of the pack are uint16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proxy:
    """A part that is fitted onto the body: hair, teeth, a garment.

    Attributes:
        kind: One of `PROXY_KINDS`.
        refs: int32 [N, 3], body vertices that carry each vertex.
        share: float64 [N, 3], how much of each.
        offset: float64 [N, 3], dm at scale 1.
        scale_refs: int32 [3, 2], body vertices whose distance along an axis gives its scale.
        scale_rest: float64 [3], that distance at scale 1, dm.
        quads: int32 [F, 4]; a triangle repeats its third corner.
        uv: float32 [U, 2].
        uv_quads: int32 [F, 4].
    """

    kind: str
    refs: Int32Array
    share: Float64Array
    offset: Float64Array
    scale_refs: Int32Array
    scale_rest: Float64Array
    quads: Int32Array
    uv: Float32Array
    uv_quads: Int32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadPack:
    """Everything a head is made of.

    Attributes:
        directory: Where textures are read from.
        rest: float64 [R, 3], body vertices, dm.
        quads: int32 [F, 4], the body's faces.
        uv: float32 [U, 2].
        uv_quads: int32 [F, 4].
        target_names: Identity targets by name -> index.
        target_rows: int32 [T + 1], where each target's entries start.
        target_vertices: int32 [E].
        target_offsets: float32 [E, 3], dm at weight 1.
        bones: Bone names, parents first; bone 0 is the body that never moves.
        parents: int32 [B], -1 for the root.
        joint_rows: int32 [B + 1]; a bone's head is the mean of its joint vertices.
        joint_vertices: int32 [J].
        skin_bones: int32 [R, 8].
        skin_weights: float64 [R, 8], sum to 1.
        unit_names: Pose units by name -> index.
        unit_turns: float64 [P, B, 3], rotation vectors at weight 1, rad.
        proxies: Parts by name.
        expressions: Pose units of whole expressions.
        visemes: Pose units of visemes.
        topology_digest: Hex SHA-256 of the body's faces: what a landmark map belongs to.
    """

    directory: Path
    rest: Float64Array
    quads: Int32Array
    uv: Float32Array
    uv_quads: Int32Array
    target_names: Mapping[str, int]
    target_rows: Int32Array
    target_vertices: Int32Array
    target_offsets: Float32Array
    bones: tuple[str, ...]
    parents: Int32Array
    joint_rows: Int32Array
    joint_vertices: Int32Array
    skin_bones: Int32Array
    skin_weights: Float64Array
    unit_names: Mapping[str, int]
    unit_turns: Float64Array
    proxies: Mapping[str, Proxy]
    expressions: Mapping[str, Mapping[str, float]]
    visemes: Mapping[str, Mapping[str, float]]
    topology_digest: str

    def proxies_of(self, kind: str) -> list[str]:
        """Names of the parts of a kind, sorted."""
        return [name for name, proxy in sorted(self.proxies.items()) if proxy.kind == kind]

    def textures(self, prefix: str, suffix: str) -> list[str]:
        """What stands between `prefix` and `suffix` in the names of texture files, sorted."""
        names = (path.name for path in (self.directory / "tex").glob(f"{prefix}*{suffix}"))
        return sorted(name[len(prefix) : len(name) - len(suffix)] for name in names)

    def morph(self, weights: Mapping[str, float]) -> Float64Array:
        """Rest vertices of an identity.

        Args:
            weights: Targets by name.

        Returns:
            float64 [R, 3], dm.

        Raises:
            InvalidInput: A target is unknown.
        """
        vertices = self.rest.copy()
        for name, weight in weights.items():
            if name not in self.target_names:
                raise InvalidInput(
                    f"the head pack has no identity target {name!r}", reason="UNKNOWN_TARGET"
                )
            index = self.target_names[name]
            rows = slice(self.target_rows[index], self.target_rows[index + 1])
            # A target names each vertex once, so plain indexing adds up.
            vertices[self.target_vertices[rows]] += weight * self.target_offsets[rows]
        return vertices

    def fit(self, vertices: Float64Array, name: str) -> tuple[Float64Array, Float64Array]:
        """Fit a part onto an identity.

        Args:
            vertices: float64 [R, 3], of `morph`.
            name: The part.

        Returns:
            Positions, float64 [N, 3], dm; and dense bone weights, float64 [N, B].
        """
        proxy = self.proxies[name]
        a, b = vertices[proxy.scale_refs[:, 0]], vertices[proxy.scale_refs[:, 1]]
        scale = np.abs(np.diagonal(a - b)) / proxy.scale_rest
        place = np.einsum("nkc,nk->nc", vertices[proxy.refs], proxy.share) + proxy.offset * scale
        share = np.clip(proxy.share, 0.0, None)
        weights = np.zeros((len(place), len(self.bones)))
        rows = np.arange(len(place))[:, None]
        for corner in range(3):
            body = proxy.refs[:, corner]
            amount = self.skin_weights[body] * share[:, corner, None]
            np.add.at(weights, (rows, self.skin_bones[body]), amount)
        return place, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)


def load_pack(directory: Path) -> HeadPack:
    """Load a head pack.

    Args:
        directory: Folder with ``base.npz``, ``targets.npz``, ``rig.npz``, ``poseunits.npz``,
            ``proxy/``, ``tex/`` and the JSON files.

    Raises:
        FailedPrecondition: A file is missing (reason ``HEAD_PACK_MISSING``).
        InvalidInput: A file is broken or does not fit the others (reason ``BAD_HEAD_PACK``).
    """
    base, targets, rig, units = (
        _read_arrays(directory, f"{name}.npz") for name in ("base", "targets", "rig", "poseunits")
    )
    try:
        pack = _assemble(directory, base, targets, rig, units)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise InvalidInput(
            f"the head pack in {directory} does not have the layout of docs/synthetic-heads.md "
            f"({type(error).__name__}: {error})",
            reason="BAD_HEAD_PACK",
            field="heads",
        ) from error
    _check(pack)
    return pack


def _assemble(
    directory: Path, base: Arrays, targets: Arrays, rig: Arrays, units: Arrays
) -> HeadPack:
    quads = base["quads"].astype(np.int32)
    weights = rig["weight"].astype(np.float64)
    return HeadPack(
        directory=directory,
        rest=base["rest"].astype(np.float64),
        quads=quads,
        uv=base["uv"].astype(np.float32),
        uv_quads=base["uvquads"].astype(np.int32),
        target_names={name: index for index, name in enumerate(targets["names"].tolist())},
        target_rows=targets["ptr"].astype(np.int32),
        target_vertices=targets["idx"].astype(np.int32),
        target_offsets=targets["delta"].astype(np.float32),
        bones=tuple(rig["bone_names"].tolist()),
        parents=rig["parent"].astype(np.int32),
        joint_rows=rig["joint_ptr"].astype(np.int32),
        joint_vertices=rig["joint_idx"].astype(np.int32),
        skin_bones=rig["weight_bone"].astype(np.int32),
        skin_weights=weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9),
        unit_names={name: index for index, name in enumerate(units["names"].tolist())},
        unit_turns=_rotation_vectors(units["quat"].astype(np.float64)),
        proxies=_read_proxies(directory),
        expressions=_read_json(directory, "expressions.json", lambda data: data),
        visemes=_read_json(directory, "visemes.json", lambda data: data["viseme_to_units"]),
        topology_digest=hashlib.sha256(quads.tobytes()).hexdigest(),
    )


def _check(pack: HeadPack) -> None:
    """Indexes within their arrays, and a bone to turn the head by."""
    num_vertices, num_bones = len(pack.rest), len(pack.bones)
    faults = [
        name
        for name, array, limit in (
            ("base quads", pack.quads, num_vertices),
            ("base uvquads", pack.uv_quads, len(pack.uv)),
            ("target idx", pack.target_vertices, num_vertices),
            ("rig joint_idx", pack.joint_vertices, num_vertices),
            ("rig weight_bone", pack.skin_bones, num_bones),
            ("rig parent", pack.parents, num_bones),
            *((f"{name} refs", proxy.refs, num_vertices) for name, proxy in pack.proxies.items()),
        )
        if array.size and int(array.max()) >= limit
    ]
    if num_vertices > MAX_VERTICES or pack.unit_turns.shape[1] != num_bones:
        faults.append("sizes")
    if not {"neck01", "neck02", "neck03", "head", "jaw", "eye.L", "eye.R"} <= set(pack.bones):
        faults.append("rig bone_names")
    unknown = {proxy.kind for proxy in pack.proxies.values()} - set(PROXY_KINDS)
    if faults or unknown:
        raise InvalidInput(
            f"the head pack in {pack.directory} is inconsistent: "
            f"{', '.join(faults + sorted(unknown))}",
            reason="BAD_HEAD_PACK",
            field="heads",
        )


def _read_arrays(directory: Path, name: str) -> Arrays:
    path = directory / name
    if not path.is_file():
        raise FailedPrecondition(
            f"no {name} in the head pack {directory}; give the folder of the head parts",
            reason="HEAD_PACK_MISSING",
            field="heads",
        )
    try:
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"cannot read {path} as npz; copy the head pack again",
            reason="BAD_HEAD_PACK",
            field="heads",
        ) from error


def _read_json(directory: Path, name: str, take: Callable[[Any], Any]) -> Any:
    try:
        return take(json.loads((directory / name).read_text("utf-8")))
    except FileNotFoundError as error:
        raise FailedPrecondition(
            f"no {name} in the head pack {directory}; give the folder of the head parts",
            reason="HEAD_PACK_MISSING",
            field="heads",
        ) from error


def _read_proxies(directory: Path) -> dict[str, Proxy]:
    return {
        path.stem: _proxy_of(_read_arrays(directory, f"proxy/{path.name}"))
        for path in sorted((directory / "proxy").glob("*.npz"))
    }


def _proxy_of(data: Arrays) -> Proxy:
    return Proxy(
        kind=str(data["kind"]),
        refs=data["refs"].astype(np.int32),
        share=data["w"].astype(np.float64),
        offset=data["off"].astype(np.float64),
        scale_refs=data["scale_ref"].astype(np.int32),
        scale_rest=data["scale_den"].astype(np.float64),
        quads=data["quads"].astype(np.int32),
        uv=data["uv"].astype(np.float32),
        uv_quads=data["uvquads"].astype(np.int32),
    )


def _rotation_vectors(quaternions: Float64Array) -> Float64Array:
    """Logarithm of unit quaternions (w, x, y, z): axis times angle, rad."""
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    axis = unit[..., 1:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, unit[..., :1])
    return np.asarray(np.where(sine > 1e-8, axis / np.maximum(sine, 1e-8) * angle, 0.0))
