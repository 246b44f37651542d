"""A model as functions that C++ and Swift import: three `.mlxfn` files over one of weights.

The functions take the weights as inputs by name, so that each file is small and all share one. MLX
writes constants that are not contiguous wrongly, so arrays are made contiguous first, and each
function is read back and compared with the model before the folder comes to its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..checkpoints.folders import check_target, replacing, settle
from ..decoders.step import next_logits, step
from ..encoders.patches import Pair
from ..errors import ConfigError, OptionError, WeightsError, as_path, check_type, check_whole, shown
from ..files import make_folder, write_file, write_json, write_tensors
from ..layers.computing import computing
from ..layers.cpu import plain
from ..layers.decoder_cache import DecoderCache
from ..layers.kv_cache import KeysValues
from ..layers.lora import check_no_adapters
from ..layers.step_cache import Storage
from ..layers.weights import Weights
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.generate import check_reader
from ..reading.image_sizes import match_images
from ..reading.processor import Processor
from ..text.token_bytes import TokenBytes, token_bytes
from .export_card import CARD, Shapes, card, readme, settings

Arrays = list[mx.array]
Function = Callable[..., Arrays]
WEIGHTS, TOKENS = "model.safetensors", "tokens.safetensors"
CLOSE = {mx.float32: 1e-4, mx.float16: 2e-2, mx.bfloat16: 1e-1}  # of the largest number
MLX: Any = mx  # whose types have no room for inputs by name
MOST_IMAGES = 1024  # of one call
STEPS = 3  # that are compared with the model's own


def export(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    path: str | Path,
    *,
    batch_size: int = 1,
    prompt: str | None = None,
    max_new_tokens: int | None = None,
    samples: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Path:
    """Write a model to the folder `path` as functions that C++ and Swift import without Python.

    They are `encoder.mlxfn`, `prefill.mlxfn` and `step.mlxfn` over `model.safetensors`; beside them
    are `tokens.safetensors`, with the bytes of every token, and `model.json` and `README.md`, which
    say how to call them. The weights are as they were loaded: of their type, quantized or not.

    batch_size -- images of one call. prompt -- the text that the decoder is given before it writes;
    its ids are part of the folder. max_new_tokens -- tokens after the prompt that the caches have
    room for; by default as many as the checkpoint would write. samples -- images whose pixels are
    written as `samples/NAME.npy`. overwrite -- replace an exported folder that is there.

    Adapters have to be fused before. A function that does not compute what the model does is a
    `WeightsError`, and the folder is as it was then.
    """
    check_reader(model, processor)
    match_images(model, processor)
    target = as_path(path, "path")
    check_whole("batch_size", batch_size, 1)
    if batch_size > MOST_IMAGES:
        raise OptionError(f"batch_size is {shown(batch_size)}; expected at most {MOST_IMAGES}")
    check_no_adapters(model, "exporting it")
    table = token_bytes(processor.required_tokenizer)
    size = _image_size(processor)
    length = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
    options = model.generation_options(**{**processor.task_options(), **length})
    given = processor.prompt_ids(prompt)
    ids, options = model.prompt(1, [given] if given else None, options)
    pixels = _pixels_of(processor, samples)
    settle(target)
    check_target(target, overwrite, CARD)
    with replacing(target) as new:
        make_folder(new)
        start = np.array(ids)[0].tolist()
        exported = _Exported(model, batch_size, start, options.max_length - 1)
        shapes = exported.write(new, size)
        taken = {"pixels": " ".join(map(str, shapes["encoder"].inputs[0]))}
        said = {**taken, **settings(processor, table, options, start, batch_size)}
        names = {f"{name}.weights": " ".join(its.weights) for name, its in shapes.items()}
        write_tensors(new / WEIGHTS, exported.weights, {"format": "mlx", **said, **names})
        _write_table(new / TOKENS, table)
        about = card(model, processor, said, shapes)
        write_json(new / CARD, about)
        write_file(new / "README.md", lambda file: file.write_text(readme(about)))
        for name, array in pixels.items():
            make_folder(new / "samples")
            np.save(new / "samples" / f"{name}.npy", np.array(array.astype(mx.float32)))
        check_target(target, overwrite, CARD)
    return target


class _Exported:
    """The three functions of a model, for a batch of so many images with one prompt of ids.

    capacity -- tokens that the caches hold of a row, its prompt's among them
    """

    def __init__(
        self, model: VisionEncoderDecoderModel, batch_size: int, prompt: list[int], capacity: int
    ) -> None:
        self.model, self.decoder = model, model.decoder
        self.batch_size, self.capacity = batch_size, capacity
        self.prompt = mx.array([prompt] * batch_size, mx.int32)
        self._places = Weights(model)
        arrays = [mx.contiguous(array) for array in self._places.arrays()]
        mx.eval(arrays)
        self.weights = dict(zip(self._places.names, arrays, strict=True))

    def encode(self, pixels: mx.array) -> Arrays:
        """Pixels (B, H, W, C) to the keys and values that every layer remembers of the images."""
        memory = self.model.memory(self.model.encode(pixels))
        return [part for layer in self.decoder.layers for part in layer.remember(memory)]

    def prefill(self, tokens: mx.array, *memory: mx.array) -> Arrays:
        """Ids (B, P) to the logits (B, V) after them, and buffers of every layer, filled so far."""
        cache = DecoderCache(_pairs(memory), len(tokens), self.capacity)
        logits = next_logits(self.decoder, tokens, cache)
        for layer in cache.layers:
            layer.reserve(self.capacity - tokens.shape[1])
        return [logits, *(part for layer in cache.layers for part in layer.buffers)]

    def step(self, tokens: mx.array, positions: mx.array, *held: mx.array) -> Arrays:
        """Ids (B,) at positions (B,), buffers and memory to logits (B, V) and buffers."""
        buffers, memory = _pairs(held[: len(held) // 2]), _pairs(held[len(held) // 2 :])
        logits, after = step(self.decoder, tokens, positions, buffers, memory, storage=Storage())
        return [logits, *(part for parts in after for part in parts)]

    @computing()
    @plain()
    def write(self, folder: Path, size: Pair) -> dict[str, Shapes]:
        """Write and compare all three; returns the shapes of what goes in and comes out."""
        channels = self.model.encoder.config.num_channels
        pixels = mx.random.normal((self.batch_size, *size, channels), key=mx.random.key(0))
        encoder, shapes = self._write(folder / "encoder.mlxfn", self.encode, [pixels])
        memory = encoder(pixels)
        prefill, shapes_of_prefill = self._write(
            folder / "prefill.mlxfn", self.prefill, [self.prompt, *memory]
        )
        logits, *buffers = prefill(self.prompt, *memory)
        cache = DecoderCache(_pairs(self.encode(pixels)), self.batch_size)
        expected = next_logits(self.decoder, self.prompt, cache)
        _check("prefill", [logits], [expected])
        tokens, positions = mx.argmax(expected, axis=-1).astype(mx.int32), self._positions(0)
        taken, shapes_of_step = self._write(
            folder / "step.mlxfn", self.step, [tokens, positions, *buffers, *memory]
        )
        for count in range(min(STEPS, self.capacity - self.prompt.shape[1])):
            logits, *buffers = taken(tokens, self._positions(count), *buffers, *memory)
            expected = next_logits(self.decoder, tokens[:, None], cache)
            _check("step", [logits], [expected])
            tokens = mx.argmax(expected, axis=-1).astype(mx.int32)
        return {"encoder": shapes, "prefill": shapes_of_prefill, "step": shapes_of_step}

    def _positions(self, count: int) -> mx.array:
        """Positions (B,) of a token that comes when `count` others have followed the prompt."""
        return mx.full((self.batch_size,), self.prompt.shape[1] + count, mx.int32)

    def _write(self, path: Path, function: Function, inputs: Arrays) -> tuple[Function, Shapes]:
        """Write one function, and read it back to compare it with the model's own."""

        def of_weights(*given: mx.array, **weights: mx.array) -> Arrays:
            every = [weights.get(name, own) for name, own in self.weights.items()]
            with self._places.replaced(every):
                return function(*given)

        used = {name: self.weights[name] for name in _used(of_weights, inputs, self.weights)}
        MLX.export_function(str(path), of_weights, *inputs, **used)
        imported = MLX.import_function(str(path))
        outputs, expected = imported(*inputs, **used), function(*inputs)
        _check(path.stem, outputs, expected)
        shapes = Shapes([a.shape for a in inputs], [a.shape for a in outputs], list(used))
        return lambda *given: [*imported(*given, **used)], shapes


def _used(function: Function, inputs: Arrays, weights: Mapping[str, mx.array]) -> list[str]:
    """The names of the weights that a function computes with."""
    names: dict[str, str] = {}
    read: set[str] = set()

    def note(part: dict[str, Any]) -> None:
        if part["type"] == "keyword_inputs":
            names.update({array: name for name, array in part["keywords"]})
        elif part["type"] == "primitive":
            read.update(array for array, *_ in part["inputs"])

    MLX.export_function(note, function, *inputs, **weights)
    return sorted(name for array, name in names.items() if array in read)


def _check(name: str, found: Sequence[mx.array], expected: Sequence[mx.array]) -> None:
    """Raise `WeightsError` where arrays of an exported function are not those of the model."""
    for ours, theirs in zip(found, expected, strict=True):
        scale = float(mx.abs(theirs).max()) or 1.0
        apart = float(mx.abs(ours.astype(mx.float32) - theirs.astype(mx.float32)).max()) / scale
        bound = CLOSE.get(theirs.dtype, 0.0)
        if ours.shape != theirs.shape or not apart <= bound:
            raise WeightsError(
                f"{name}.mlxfn, read back, is off by {apart:.2g} of the largest number; expected "
                f"{bound:g} at most; nothing was written: please report the checkpoint"
            )


def _pairs(parts: Sequence[mx.array]) -> list[KeysValues]:
    """Keys and values of the layers, from one list of them in turn."""
    return [(keys, values) for keys, values in zip(parts[::2], parts[1::2], strict=True)]


def _image_size(processor: Processor) -> Pair:
    """Height and width of the pixels that the encoder is exported for."""
    images = processor.image_processor
    if images is None:
        raise ConfigError("the processor has no image processor; expected one, whose size it is")
    if images.made_size is None:
        raise ConfigError(
            f"a {type(images).__name__} with these settings makes images of many sizes, and an "
            "exported function takes one; give it with --image-size, or resize_images"
        )
    return images.made_size


def _pixels_of(processor: Processor, samples: Sequence[str | Path]) -> dict[str, mx.array]:
    """The pixels of the samples, each by the name that its file gets."""
    check_type("samples", samples, (list, tuple), "a list of paths of images")
    found: dict[str, mx.array] = {}
    for sample in samples:
        name = as_path(sample, "a sample").stem
        if name in found:
            raise OptionError(
                f"two of the samples would be written as samples/{name}.npy; rename one of them"
            )
        found[name] = processor.pixels(sample)
    return found


def _write_table(path: Path, table: TokenBytes) -> None:
    """Write the bytes of all tokens one after another, and where each begins (V + 1,)."""
    starts = [0, *accumulate(map(len, table.of_id))]
    joined = np.frombuffer(b"".join(table.of_id), np.uint8)
    arrays = {"bytes": mx.array(joined), "starts": mx.array(starts, mx.int32)}
    write_tensors(path, arrays, {"format": "mlx"})
