"""What a decoder remembers between steps: its own keys and values, and those of the image.

A cache is saved as one safetensors file, whose metadata says of which version and settings it is.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
from safetensors import SafetensorError, safe_open

from ..errors import CheckpointError, OptionError
from ..files import write_tensors
from .kv_cache import KeysValues, KVCache, Memory, RotatingKVCache, check_alike, check_chosen
from .kv_quantization import DENSE, Packing, Parts, Quantization, kv_group_size
from .step_cache import Storage

KIND = "mlx_vedec.DecoderCache"
FORMAT_VERSION = 1
MOST_ROWS = 2**20
Groups = Mapping[str, Sequence[tuple[mx.array, ...]]]  # "layers": the parts of each, maybe none


class DecoderCache:
    """One `KVCache` per layer, and per layer the image's keys and values, which all its rows share.

    memories -- per layer, keys and values (B, H, S, Dh) of the encoder's features, computed once;
                None for a decoder that reads no image
    rows     -- rows of the batch: B, or several per image (their queries are folded together)
    limit    -- positions the decoder has, the bound on growth
    max_size -- tokens to hold of each row: the first `keep` and the latest of the others
    bits     -- of a number, in groups of `group_size`; None keeps all as it is

    >>> cache = DecoderCache([None, None], rows=2, max_size=100, keep=3)
    >>> cache.positions(2).tolist()
    [[0, 1], [0, 1]]
    """

    def __init__(
        self,
        memories: Sequence[KeysValues | None],
        rows: int,
        limit: int | None = None,
        *,
        max_size: int | None = None,
        keep: int = 0,
        bits: int | None = None,
        group_size: int | None = None,
    ) -> None:
        read = [pair for pair in memories if pair is not None]
        self.images = read[0][0].shape[0] if read else rows
        if not 1 <= rows <= MOST_ROWS or rows % self.images:
            raise OptionError(
                f"{rows} rows for {self.images} images; expected the same number for each"
            )
        self.packing = _packing(bits, group_size, [keys.shape[-1] for keys, _ in read])
        self._layers = [_layer(rows, limit, max_size, keep, self.packing) for _ in memories]
        self._parents: mx.array | None = None  # rows that go on from others, where not done yet
        self._memories = [self.packing.pack(*pair) if pair else () for pair in memories]

    @property
    def layers(self) -> list[KVCache]:
        """The caches of the layers, their rows in the order that they have now."""
        if self._parents is not None:
            for layer in self._layers:
                layer.reorder(self._parents)
            self._parents = None
        return self._layers

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each row."""
        return self._layers[0].lengths

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return self._layers[0].offset

    @property
    def rows(self) -> int:
        """Rows of the batch, B·K."""
        return len(self.lengths)

    @property
    def rows_per_image(self) -> int:
        """Rows that read one image, K: as many as there are beams."""
        return self.rows // self.images

    @property
    def memories(self) -> list[Memory | None]:
        """The image's keys and values (B, H, S, Dh) per layer."""
        return [self.packing.unpack(parts) if parts else None for parts in self._memories]

    def positions(self, count: int) -> mx.array:
        """Positions (B·K, count) of the next tokens of each row."""
        starts = mx.array(self.lengths, mx.int32)[:, None]
        return starts + mx.arange(count, dtype=mx.int32)

    def make_mask(
        self, length: int, attention_mask: mx.array | None = None
    ) -> mx.array | str | None:
        """What the next tokens attend to, in every layer; see `KVCache.make_mask`."""
        return self.layers[0].make_mask(length, attention_mask)

    @property
    def storage(self) -> Storage:
        """How tokens are kept, for a step on what `hand_out` gives."""
        return Storage(self.packing, self._layers[0].window)

    def hand_out(self) -> tuple[list[Parts], list[Parts], mx.array | None]:
        """Buffers with room for one more token, the images' parts, and parents not yet followed.

        What a step makes of the buffers has to be taken back.
        """
        for layer in self._layers:
            layer.reserve(1)
        return [layer.buffers for layer in self._layers], self._memories, self._parents

    def take_back(self, buffers: Sequence[Parts]) -> None:
        """Go on with buffers in which each row has one token more, parents followed."""
        self._parents = None
        lengths = [length + 1 for length in self.lengths]
        for layer, parts in zip(self._layers, buffers, strict=True):
            layer.restore(tuple(parts), lengths)

    def trim(self, n: int) -> int:
        """Forget the last n tokens of each row, or as many as the shortest has; return how many."""
        return min(layer.trim(n) for layer in self.layers)

    def reorder(self, parents: mx.array) -> None:
        """Let row i go on from row parents[i], (B·K,), of the same image and length.

        It is done when the cache is read next, which may be within a compiled step.
        """
        self._layers[0].check_rows(len(parents), "parents")
        self._parents = parents if self._parents is None else self._parents[parents]

    def expand(self, times: int) -> None:
        """Put `times` copies of each row in its place, all of which read the one image."""
        for layer in self.layers:
            layer.expand(times)

    def filter(self, images: Sequence[int]) -> None:
        """Keep these images, in this order, with all their rows."""
        check_chosen(images, self.images, "images")
        if list(images) == list(range(self.images)):
            return
        times = self.rows_per_image
        for layer in self.layers:
            layer.filter([image * times + row for image in images for row in range(times)])
        index = mx.array(list(images), mx.int32)
        self._memories = [tuple(part[index] for part in parts) for parts in self._memories]
        self.images = len(images)

    def extend(self, other: DecoderCache) -> None:
        """Append the images of another cache of this decoder, whatever their rows' lengths."""
        self._check_extends(other)
        for layer, its in zip(self.layers, other.layers, strict=True):
            layer.extend(its)
        pairs = zip(self._memories, other._memories, strict=True)
        self._memories = [
            tuple(mx.concatenate([a, b]) for a, b in zip(ours, theirs, strict=True))
            for ours, theirs in pairs
        ]
        self.images += other.images

    def to_quantized(self, group_size: int | None = None, bits: int = 8) -> DecoderCache:
        """A cache of the same tokens and images, their keys and values in `bits` bits a number."""
        held = [*self._memories, *(layer.state for layer in self.layers)]
        packing = _packing(bits, group_size, [parts[0].shape[-1] for parts in held if parts])
        assert isinstance(packing, Quantization)
        other = copy.copy(self)
        other._layers = [layer.to_quantized(packing.group_size, bits) for layer in self.layers]
        other._memories = [packing.pack(*parts) if parts else () for parts in self._memories]
        other.packing = packing
        return other

    def save(self, path: str | Path) -> None:
        """Write all that is held to one safetensors file, for `load` to go on from."""
        groups = {"layers": [layer.state for layer in self.layers], "memories": self._memories}
        _write(Path(path), groups, self.packing.names, self._settings)

    @classmethod
    def load(cls, path: str | Path) -> DecoderCache:
        """Read a cache that `save` wrote."""
        groups, settings = _read(Path(path))
        try:
            lengths, images = settings.pop("lengths"), settings.pop("images")
            cache = cls([None] * len(groups["layers"]), len(lengths), **settings)
            for layer, parts in zip(cache.layers, groups["layers"], strict=True):
                layer.restore(parts, lengths)
            cache._memories, cache.images = [*groups["memories"]], images
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(path, error) from error
        return cache

    @property
    def _settings(self) -> dict[str, Any]:
        """The arguments that `load` makes a cache with, and the lengths and images it then has."""
        layer, packing = self.layers[0], self.packing
        rotating = isinstance(layer, RotatingKVCache)
        quantized = isinstance(packing, Quantization)
        return {
            "limit": layer.limit,
            "max_size": layer.window.max_size if rotating else None,
            "keep": layer.window.keep,
            "bits": packing.bits if quantized else None,
            "group_size": packing.group_size if quantized else None,
            "lengths": self.lengths,
            "images": self.images,
        }

    def _check_extends(self, other: DecoderCache) -> None:
        """Raise `OptionError` unless the other's images can be appended; nothing is changed yet."""
        ours, theirs = ((len(c.layers), c.rows_per_image) for c in (self, other))
        if ours != theirs:
            raise OptionError(
                f"layers and rows of an image are {ours} and {theirs}; expected the same in both"
            )
        for layer, its in zip(self.layers, other.layers, strict=True):
            layer.check_kind(its)
        for parts, its in zip(self._memories, other._memories, strict=True):
            check_alike(parts, its, axis=2)

    @property
    def memory_nbytes(self) -> int:
        """Bytes of the image's keys and values, however many rows read them."""
        return sum(part.nbytes for parts in self._memories for part in parts)

    @property
    def nbytes(self) -> int:
        """Bytes held for the decoder's own tokens and for the image."""
        return self.memory_nbytes + sum(layer.nbytes for layer in self.layers)


def _packing(bits: int | None, group_size: int | None, widths: Sequence[int]) -> Packing:
    """How keys and values are kept; widths are those of the heads, none where not known yet."""
    if bits is None and group_size is not None:
        raise OptionError(f"group_size is {group_size}, but nothing is quantized without bits")
    if bits is None:
        return DENSE
    return Quantization(kv_group_size(widths[0], group_size) if widths else group_size or 64, bits)


def _layer(
    rows: int, limit: int | None, max_size: int | None, keep: int, packing: Packing
) -> KVCache:
    if max_size is not None:
        return RotatingKVCache(max_size, keep, limit, rows=rows, packing=packing)
    if keep:
        raise OptionError(f"keep is {keep}, but without max_size all tokens are kept; give both")
    return KVCache(limit, rows=rows, packing=packing)


# Files of caches


def _write(path: Path, groups: Groups, names: Sequence[str], settings: dict[str, Any]) -> None:
    """Write keys and values under names such as `layers.0.keys`, with the cache's settings."""
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
    write_tensors(path, arrays, metadata)


def _read(path: Path) -> tuple[Groups, dict[str, Any]]:
    """The keys, values and settings in a file that `save` wrote."""
    metadata, found = _read_header(path)
    try:
        holds, names, settings = (json.loads(metadata[k]) for k in ("holds", "names", "settings"))
        expected = set(_tensors(holds, names))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _unreadable(path, error) from error
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


def _unreadable(path: str | Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} has metadata that cannot be read ({error}); save the cache again"
    )


def _tensors(holds: Mapping[str, Sequence[bool]], names: Sequence[str]) -> list[str]:
    """Names of the tensors in a file, of the layers that hold something."""
    return [
        f"{group}.{index}.{name}"
        for group, held in holds.items()
        for index, there in enumerate(held)
        for name in names
        if there
    ]


def _read_header(path: Path) -> tuple[dict[str, str], set[str]]:
    """The metadata and tensors' names of a file; `CheckpointError` if it is not a cache's."""
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
