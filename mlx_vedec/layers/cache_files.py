"""Files of caches: safetensors whose metadata says which version and which settings they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError
from ..files import write_file

KIND = "mlx_vedec.DecoderCache"
FORMAT_VERSION = 1
Groups = Mapping[str, Sequence[tuple[mx.array, ...]]]  # "layers": the parts of each, maybe none


def write_cache(path: Path, groups: Groups, names: Sequence[str], settings: dict[str, Any]) -> None:
    """Write parts under their names, `layers.0.keys`, and the settings they belong to."""
    holds = {group: [bool(parts) for parts in held] for group, held in groups.items()}
    parts = (part for held in groups.values() for layer in held for part in layer)
    arrays = dict(zip(_tensors(holds, names), parts, strict=True))
    mx.eval(arrays)
    metadata = {
        "format": "mlx",
        "format_version": str(FORMAT_VERSION),
        "kind": KIND,
        "holds": json.dumps(holds),
        "names": json.dumps(names),
        "settings": json.dumps(settings),
    }

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # to a name, MLX would append its suffix
            mx.save_safetensors(file, arrays, metadata)

    write_file(path, write)


def read_cache(path: Path) -> tuple[Groups, dict[str, Any]]:
    """The parts, read, and the settings that `write_cache` wrote."""
    metadata, found = _read_header(path)
    try:
        holds, names, settings = (json.loads(metadata[k]) for k in ("holds", "names", "settings"))
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} has metadata that cannot be read ({error}); save the cache again"
        ) from error
    expected = set(_tensors(holds, names))
    if expected != found:
        raise CheckpointError(
            f"{path} lacks {sorted(expected - found)}, and {sorted(found - expected)} belong to no "
            "cache; save the cache again"
        )
    arrays = mx.load(str(path), format="safetensors")
    assert isinstance(arrays, dict)
    mx.eval(arrays)  # MLX reads late: by then another file may be in the place of this one
    groups = {
        group: [
            tuple(arrays[f"{group}.{index}.{name}"] for name in names if there)
            for index, there in enumerate(held)
        ]
        for group, held in holds.items()
    }
    return groups, settings


def _tensors(holds: Mapping[str, Sequence[bool]], names: Sequence[str]) -> list[str]:
    """Names of the tensors of layers that hold something."""
    return [
        f"{group}.{index}.{name}"
        for group, held in holds.items()
        for index, there in enumerate(held)
        for name in names
        if there
    ]


def _read_header(path: Path) -> tuple[dict[str, str], set[str]]:
    """The metadata and the tensors' names of a file that is whole and a cache's."""
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; expected a file that DecoderCache.save wrote")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or was cut short ({error}); save the cache again"
        ) from error
    kind, version = metadata.get("kind"), metadata.get("format_version")
    if kind != KIND:
        raise CheckpointError(
            f"{path} is of the kind {kind!r}; expected {KIND!r}, which DecoderCache.save writes"
        )
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} is of format version {version}; this mlx_vedec reads version "
            f"{FORMAT_VERSION}: load it with the one that wrote it"
        )
    return metadata, names
