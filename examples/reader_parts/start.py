"""What the training begins with: a reader with more characters, a wider canvas, more positions."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

import mlx_vedec as mv

from .batches import PATCH
from .pictures import HEIGHT, WIDTH
from .texts import CHARACTERS, LONGEST

POSITIONS = 80  # tokens of a line, with those that frame it


def begin(folder: Path, start: Path) -> None:
    """Write a reader with the vocabulary, canvas and positions of the recipe, in float32."""
    model, processor = mv.load(start, dtype="float32")
    mx.random.seed(0)
    vocabulary = mv.new_vocabulary(model, processor, [CHARACTERS])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    ids = processor.required_tokenizer.backend.get_vocab()
    loaded: Any = mx.load(str(folder / "model.safetensors"))
    weights = {name: np.array(x) for name, x in loaded.items()}
    extend(weights, vocabulary.sources, ids)
    mx.save_safetensors(
        str(folder / "model.safetensors"),
        {name: mx.array(x) for name, x in weights.items()},
        metadata={"format": "pt"},
    )
    change(folder / "config.json", encoder={"image_size": [HEIGHT, WIDTH], "narrow_images": True})
    change(folder / "config.json", decoder={"max_position_embeddings": POSITIONS})
    change(folder / "tokenizer_config.json", model_max_length=POSITIONS)
    change(folder / "generation_config.json", max_length=LONGEST + 8)
    size = {"height": HEIGHT, "width": WIDTH}
    change(folder / "preprocessor_config.json", size=size, line_aspect_ratio=WIDTH / HEIGHT)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file, and of objects in it."""
    config = json.loads(path.read_text())
    for key, value in values.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(config, indent=2) + "\n")


def extend(
    weights: dict[str, np.ndarray], sources: Sequence[int | None], ids: dict[str, int]
) -> None:
    """Give tables of positions their new length, and new letters the rows of those they are of."""
    name = "encoder.embeddings.position_embeddings"
    table = weights[name][0]
    more = WIDTH // PATCH - (len(table) - 1)
    weights[name] = np.concatenate([table, continued(table[1:], more)])[None]
    name = "decoder.model.decoder.embed_positions.weight"
    table = weights[name]
    rows = np.random.default_rng(0).normal(0, 0.02, (POSITIONS + 2 - len(table), table.shape[1]))
    weights[name] = np.concatenate([table, rows.astype(np.float32)])
    table = weights["decoder.model.decoder.embed_tokens.weight"]
    for character, id in ids.items():
        base = unicodedata.normalize("NFD", character)[0]
        if sources[id] is None and base in ids and sources[ids[base]] is not None:
            table[id] = 0.5 * table[id] + table[ids[base]]


def continued(table: np.ndarray, count: int, rank: int = 12) -> np.ndarray:
    """Further rows of a table of positions, which turn on as its rows do from one to the next.

    The step from each row to the next is fitted as a linear map of the table's `rank` principal
    components, and its eigenvalues brought to length 1: what is near in the table stays near.
    """
    mean = table.mean(0)
    axes = np.linalg.svd(table - mean, full_matrices=False)[2][:rank]
    rows = (table - mean) @ axes.T
    values, vectors = np.linalg.eig(np.linalg.lstsq(rows[:-1], rows[1:], rcond=None)[0])
    step = ((vectors * (values / np.abs(values))) @ np.linalg.inv(vectors)).real
    found = [rows[-1]]
    for _ in range(count):
        found.append(found[-1] @ step)
    return (np.array(found)[1:] @ axes + mean).astype(np.float32)
