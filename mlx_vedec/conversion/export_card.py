"""What an exported folder says of itself, to programs and to those who write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Any

from ..generation.options import Options
from ..layers.packed import float_type, type_name
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..pages.reading import name_of
from ..reading.processor import Processor
from ..text.token_bytes import TokenBytes
from ..version import __version__

CARD = "model.json"
# Options that readers of the folder follow; what else a checkpoint sets is told as not followed.
FOLLOWED = {
    *("max_length", "min_length", "prompt_length", "eos_token_ids", "pad_token_id"),
    *("bos_token_id", "decoder_start_token_id", "suppress_tokens", "begin_suppress_tokens"),
    *("forced_bos_token_id", "forced_eos_token_ids", "bad_words_ids"),
}


@dataclass(frozen=True)
class Shapes:
    """What one exported function takes and gives: shapes in order, and the weights by name."""

    inputs: Sequence[tuple[int, ...]]
    outputs: Sequence[tuple[int, ...]]
    weights: Sequence[str]


def settings(
    processor: Processor,
    table: TokenBytes,
    options: Options,
    prompt: Sequence[int],
    batch_size: int,
) -> dict[str, str]:
    """What a reader decodes by, as texts: lists of ids with spaces between them."""
    never = {*options.suppress_tokens, *(ids[0] for ids in options.bad_words_ids if len(ids) == 1)}
    bos = options.forced_bos_token_id
    lists = {
        "prompt": prompt,
        "eos_token_id": options.eos_token_ids,
        "suppress_tokens": sorted(never),
        "begin_suppress_tokens": options.begin_suppress_tokens,
        "forced_bos_token_id": [] if bos is None or len(prompt) > 1 else [bos],
        "forced_eos_token_id": options.forced_eos_token_ids,
    }
    numbers = {
        "batch_size": batch_size,
        "capacity": options.max_length - 1,
        "max_new_tokens": options.max_length - len(prompt),
        "min_new_tokens": max(0, options.min_length - len(prompt)),
        "drops_first_space": int(table.drops_first_space),
    }
    return {
        **{name: " ".join(map(str, ids)) for name, ids in lists.items()},
        **{name: str(number) for name, number in numbers.items()},
        "rules_not_followed": ", ".join(_not_followed(processor, options)),
    }


def _not_followed(processor: Processor, options: Options) -> list[str]:
    """What the checkpoint is read with in Python that a reader of the folder does not do."""
    found = [f"{name}={v}" for name, v in options.changed().items() if name not in FOLLOWED]
    if any(len(ids) > 1 for ids in options.bad_words_ids):
        found.append("bad_words_ids of several tokens")
    if processor.required_tokenizer.tightens():
        found.append("clean_up_tokenization_spaces")
    if type(processor).read is not Processor.read or processor.own_steps:
        found.append(f"what {type(processor).__name__} makes of a text")
    return found


def card(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    said: Mapping[str, str],
    shapes: Mapping[str, Shapes],
) -> dict[str, Any]:
    """What `model.json` says."""
    images = processor.image_processor
    return {
        "mlx_version": version("mlx"),
        "mlx_vedec_version": __version__,
        "model": name_of(model),
        "encoder": model.encoder.config.model_type,
        "decoder": model.decoder.config.model_type,
        "dtype": type_name(float_type(model)),
        "decoding": dict(said),
        "functions": {
            name: {
                "inputs": [*map(list, its.inputs)],
                "outputs": [*map(list, its.outputs)],
                "weights": len(its.weights),
            }
            for name, its in shapes.items()
        },
        "image_processor": images.to_dict() if images else None,
    }


README = """# {model}, as functions for MLX without Python

Written by mlx_vedec {mlx_vedec_version} for MLX {mlx_version}: {encoder} and {decoder}, in {dtype}.

| file | takes | gives |
|---|---|---|
{functions}

`model.safetensors` has the weights, which each function takes as keyword inputs beside those of the
table. Its metadata says which (`encoder.weights`, `prefill.weights`, `step.weights`: names with
spaces between them) and how to decode:

{decoding}

To read an image, bring it to pixels as `image_processor` in `model.json` says: float32 of the shape
`pixels`, channels last. Call `encoder` with them: what it gives, the memory, goes into every later
call. Call `prefill` with `prompt` and the memory: it gives logits and buffers. Take the likeliest
id, and call `step` with it, its position (the first is the length of the prompt), the buffers of
the call before, and the memory: it gives logits and buffers again. Go on until an id is in
`eos_token_id`, or `max_new_tokens` are there. Ids and positions are int32. A position has to be
below `capacity`: past it logits are nan.

Ids of `suppress_tokens` never come; those of `begin_suppress_tokens` not as the first that is
chosen, and those of `eos_token_id` not among the first `min_new_tokens`. `forced_bos_token_id`
comes first, and `forced_eos_token_id` as the last of `max_new_tokens`, where they are there. What
the checkpoint asks for besides is under `rules_not_followed`.

`tokens.safetensors` has the text of every id: the UTF-8 `bytes` from `starts[id]` to
`starts[id + 1]`. Joined they are the text, without the space it begins with if
`drops_first_space` is 1.
"""


def readme(said: Mapping[str, Any]) -> str:
    """The page of an exported folder, by what its `model.json` says."""
    rows = [
        f"| `{name}.mlxfn` | {_listed(its['inputs'])} | {_listed(its['outputs'])} |"
        for name, its in said["functions"].items()
    ]
    lines = [f"- `{name}`: {value or 'none'}" for name, value in said["decoding"].items()]
    return README.format(**{**said, "functions": "\n".join(rows), "decoding": "\n".join(lines)})


def _listed(shapes: Sequence[Sequence[int]]) -> str:
    """Shapes in order, those that come several times in a row counted."""
    groups = [(shape, len([*same])) for shape, same in groupby(map(tuple, shapes))]
    return ", ".join(f"{shape}" + (f" × {n}" if n > 1 else "") for shape, n in groups)
