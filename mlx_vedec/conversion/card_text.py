"""The text of a model card: what the folder holds, how to use it, and what was measured of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mlx.core as mx

from ..checkpoints import weights
from ..checkpoints.hub import HUB_ID
from ..layers.packed import (
    Quantized,
    bits_per_weight,
    format_of,
    is_quantized,
    type_name,
    weight_shape,
)
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..version import __version__

PACKED = ("weight", "scales", "biases")  # of a quantized layer; the last in affine mode
Row = tuple[object, ...]

USE = """\
## Use

```python
from mlx_vedec import generate, load

model, processor = load("{name}")
print(generate(model, processor, "image.png").text)
```

```sh
mlx_vedec generate --model {name} --image image.png
```
"""
BACK = """\
## Back to floats

Quantized layers are stored as mlx-lm stores them, which transformers does not read. Floats, which
it reads, are made of them with

```sh
mlx_vedec convert --model {name} --mlx-path floats --dequantize
```
"""


def text(
    name: str, model: VisionEncoderDecoderModel, values: Mapping[str, Any], measured: Any = None
) -> str:
    """The text below the front matter.

    name -- a Hub id. values -- the front matter. measured -- what verification.json holds.
    """
    parts = [_heading(name, model, values), USE.format(name=name), _weights(model)]
    if measured is not None:
        parts.append(_measured(measured))
    if is_quantized(model):
        parts.append(BACK.format(name=name))
    parts.append(f"Written by mlx_vedec {__version__}.\n")
    return "\n".join(parts)


def adapter_text(name: str, values: Mapping[str, Any], measured: Any = None) -> str:
    """The text for a folder that holds an adapter alone."""
    of = made_from(values)
    parts = [f"# {name.split('/')[-1]}\n\nAn adapter{of and f' of {of}'}, without the model.\n"]
    if measured is not None:
        parts.append(_measured(measured))
    parts.append(f"Written by mlx_vedec {__version__}.\n")
    return "\n".join(parts)


def made_from(values: Mapping[str, Any]) -> str:
    """The base models as links, with the commit where it is known; empty where there is none."""
    base, commit = values.get("base_model"), values.get("base_model_revision")
    names = [str(name) for name in (base if isinstance(base, list) else [base]) if name]
    links = [f"[{n}](https://huggingface.co/{n})" if HUB_ID.fullmatch(n) else n for n in names]
    return " and ".join(links) + (f" (commit {commit})" if links and commit else "")


def _heading(name: str, model: VisionEncoderDecoderModel, values: Mapping[str, Any]) -> str:
    parts = f"{model.config.encoder.model_type} encoder, {model.config.decoder.model_type} decoder"
    made = {"finetune": "Fine-tuned from", "merge": "Merged from"}
    relation, base = values.get("base_model_relation", ""), made_from(values)
    origin = f"{made.get(relation, 'Made from')} {base}. " if base else ""
    reads = "" if is_quantized(model) else " Its weights are ones that transformers reads too."
    return (
        f"# {name.split('/')[-1]}\n\n{origin}A VisionEncoderDecoder model ({parts}) that "
        f"mlx_vedec runs on Apple MLX.{reads}\n"
    )


def _weights(model: VisionEncoderDecoderModel) -> str:
    head = ("format", "layers", "bits per weight", "MB")
    return f"## Weights\n\n{table(head, _formats(model))}"


def _formats(model: VisionEncoderDecoderModel) -> Iterator[Row]:
    """A row for each format of quantized layers, one for the floats, and the sum."""
    every = weights.bytes_of(model)
    layers = [leaf for leaf in model.modules() if isinstance(leaf, Quantized)]
    count, packed, meant = Counter(), Counter(), Counter()
    for leaf in layers:
        form = format_of(leaf)
        count[form] += 1
        packed[form] += sum(leaf[key].nbytes for key in PACKED if key in leaf)
        meant[form] += math.prod(weight_shape(leaf))
    for form in sorted(count, key=str):
        kind = f"{form.mode}, {form.bits} bits in groups of {form.group_size}"
        yield kind, count[form], f"{8 * packed[form] / meant[form]:.2f}", _megabytes(packed[form])
    rest = every - sum(packed.values())
    yield f"floats ({_types(model)})", "all else" if layers else "all", "", _megabytes(rest)
    if layers:
        yield "together", "", f"{bits_per_weight(model):.2f}", _megabytes(every)


def _types(model: VisionEncoderDecoderModel) -> str:
    types = {x.dtype for x in weights.parameters(model).values()}
    return ", ".join(sorted(type_name(x) for x in types if mx.issubdtype(x, mx.floating)))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _measured(values: Any) -> str:
    rows = table(("what", "value"), _flat(values))
    said = "As in verification.json; shares are from 0 to 1, and of a list it is the length."
    return f"## Measured\n\n{said}\n\n{rows}"


def _flat(values: Any, path: tuple[str, ...] = ()) -> Iterator[Row]:
    """Each value of nested objects, by the names that lead to it."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, (*path, str(key)))
    elif values is not None:
        name = ", ".join(path).replace("_", " ")
        yield name, len(values) if isinstance(values, list) else _shown(values)


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table; what would end a cell or a row is escaped."""
    lines = [head, ("---",) * len(head), *rows]
    cells = ([" ".join(str(cell).replace("|", "\\|").split()) for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
