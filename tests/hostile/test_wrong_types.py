"""Every public function with values of wrong types, one argument at a time: only our errors.

`python -m tests.hostile.test_wrong_types` prints what does not hold, of all functions.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

import mlx_vedec
import tests.support.blas  # noqa: F401  (before MLX is imported, where this is a script)
from mlx_vedec import LoraConfig, Sample, TrainingArguments
from mlx_vedec.pages.layout import Layout, Line, Region
from tests.hostile.folders import whole
from tests.hostile.limits import fault
from tests.hostile.values import short
from tests.support import training_parts as parts
from tests.support.tiny import tiny_config
from tests.support.training import RandomBatches

WRONG: list[Any] = [
    *(5, -1, 0.5, float("nan"), 10**30, True, "x", "", "\ud800", b"x", None, object(), int, len),
    *([], [object()], ["x"], {}, {"x": object()}, {1, 2}, np.zeros(3), mx.zeros((2, 2))),
]
WRITES = ("folder", "path", "mlx_path", "save_path")  # where a name of ours is written to
FUNCTIONS = ("progress", "clock", "say", "callbacks", "augment", "save")
PICTURE = parts.picture()

Call = Callable[..., Any]
Calls = dict[str, tuple[Call, dict[str, Any]]]


def eager(call: Call) -> Call:
    """A generator function as one that goes to the end."""
    return wraps(call)(lambda *args, **given: [*call(*args, **given)])


def fresh(call: Call, *, adapted: bool = False) -> Call:
    """A function of a model that it changes, with another model each time."""

    @wraps(call)
    def with_model(**given: Any) -> Any:
        model = parts.model()
        if adapted:
            mlx_vedec.add_adapters(model, LoraConfig(rank=2, targets=("decoder", "cross")))
        return call(**{"model": model, **given})

    return with_model


def pages(home: Path) -> Path:
    """A folder of one page, with its layout."""
    folder = home / "pages"
    folder.mkdir(exist_ok=True)
    PICTURE.save(folder / "a.png")
    line = Line("tea", (0, 0, *PICTURE.size))
    true = Layout((Region((line,)),), PICTURE.size)
    mlx_vedec.Page.of(true).save(folder / "a.xml")
    return folder


def calls(home: Path) -> Calls:
    """Public functions and methods by name, each with what it needs to work."""
    folder, model, processor = whole(home), parts.model(), parts.processor()
    checkpoint, new, m = folder / "checkpoint", home / "new", mlx_vedec
    new.mkdir(exist_ok=True)
    both = {"model": model, "processor": processor}
    read = {**both, "max_new_tokens": 2, "image": PICTURE}
    several = {**both, "max_new_tokens": 2, "images": [PICTURE]}
    pixels, config, rates = mx.zeros((1, 16, 16, 3)), tiny_config(), {"predictions": ["a"]}
    samples, page = [Sample(PICTURE, "tea")], folder / "layouts" / "page.xml"
    short_training = TrainingArguments(iters=1, compile=False)
    sides = {"original": model, "changed": model, "processor": processor}
    hub, tokenizer = {"path_or_hf_repo": checkpoint}, processor.required_tokenizer
    return {
        "add_adapters": (fresh(m.add_adapters), {"config": LoraConfig(rank=2)}),
        "add_tokens": (fresh(m.add_tokens), {"processor": parts.processor(), "tokens": ["<x>"]}),
        "batch_generate": (eager(m.batch_generate), several),
        "benchmark": (m.benchmark, {**both, "images": [PICTURE], "max_tokens": 2, "num_trials": 1}),
        "calibrate": (m.calibrate, {**both, "teacher": model, "images": [PICTURE]}),
        "BitsAndBytesConfig": (m.BitsAndBytesConfig, {"load_in_8bit": True}),
        "BitsandBytesConfig": (m.BitsandBytesConfig, {"load_in_8bit": True}),
        "TorchAoConfig": (m.TorchAoConfig, {"quant_type": "int4_weight_only"}),
        "pipeline": (m.pipeline, {"task": "image-to-text", "model": checkpoint}),
        "character_error_rate": (m.character_error_rate, {**rates, "references": ["b"]}),
        "convert": (m.convert, {"hf_path": checkpoint, "mlx_path": new / "a", "dry_run": True}),
        "estimate_memory": (m.estimate_memory, {"model_or_config": model}),
        "evaluate": (m.evaluate, {**both, "dataset": samples, "bootstrap": 0, "max_tokens": 2}),
        "evaluate_pages": (
            m.evaluate_pages,
            {**both, "pages": pages(home), "bootstrap": 0, "max_tokens": 2},
        ),
        "export": (m.export, {**both, "path": new / "exported", "overwrite": True}),
        "export_peft": (fresh(m.export_peft, adapted=True), {"folder": new / "peft"}),
        "fuse": (fresh(m.fuse, adapted=True), {}),
        "fuse_checkpoint": (
            m.fuse_checkpoint,
            {"model": checkpoint, "adapter_path": folder / "adapters", "save_path": new / "fused"}
            | {"overwrite": True},
        ),
        "generate": (m.generate, read),
        "import_peft": (fresh(m.import_peft), {"folder": folder / "peft"}),
        "load": (m.load, {**hub, "lazy": True}),
        "load_adapters": (fresh(m.load_adapters), {"folder": folder / "adapters"}),
        "load_dataset": (m.load_dataset, {"folder_or_file": folder / "data"}),
        "load_image": (m.load_image, {"source": PICTURE}),
        "load_splits": (m.load_splits, {"folder": folder / "data"}),
        "read_lines": (m.read_lines, read),
        "read_page": (m.read_page, read),
        "read_pages": (eager(m.read_pages), several),
        "remove_adapters": (m.remove_adapters, {"model": parts.model()}),
        "save_adapters": (fresh(m.save_adapters, adapted=True), {"folder": new / "adapters"}),
        "stream_generate": (eager(m.stream_generate), read),
        "train": (fresh(m.train), {"batches": RandomBatches(1), "arguments": short_training}),
        "upload": (m.upload, {"path": checkpoint, "repo": "a/b"}),
        "verify": (m.verify, {**sides, "images": [PICTURE], "labels": ["tea"], "max_tokens": 2}),
        "word_error_rate": (m.word_error_rate, {**rates, "references": ["b"]}),
        "new_vocabulary": (
            fresh(m.new_vocabulary),
            {"processor": parts.processor(), "texts": ["tea"]},
        ),
        "shrink_vocabulary": (
            fresh(m.shrink_vocabulary),
            {"processor": parts.processor(), "texts": ["tea"]},
        ),
        "Batches": (m.Batches, {"dataset": samples, **both, "batch_size": 1}),
        "GenerationConfig": (m.GenerationConfig, {"num_beams": 1, "eos_token_id": 2}),
        "ImageProcessor": (processor.image_processor.__call__, {"images": PICTURE, "size": 16}),
        "LoraConfig": (LoraConfig, {}),
        "Normalization": (m.Normalization, {}),
        "Page.from_file": (m.Page.from_file, {"path": page}),
        "Page.to_bytes": (m.Page.from_file(page).to_bytes, {"format": "text"}),
        "Processor": (processor.__call__, {"images": PICTURE}),
        "Processor.batch_decode": (processor.batch_decode, {"rows": [[5, 6]]}),
        "Processor.decode": (processor.decode, {"ids": [5, 6]}),
        "Processor.from_pretrained": (m.Processor.from_pretrained, hub),
        "Processor.save_pretrained": (processor.save_pretrained, {"folder": new / "processor"}),
        "QuantizationConfig": (m.QuantizationConfig, {}),
        "Sample": (Sample, {"image": PICTURE, "text": "tea"}),
        "Tokenizer.decode": (tokenizer.decode, {"ids": [5]}),
        "Tokenizer.encode": (tokenizer.encode, {"text": "tea"}),
        "Tokenizer.from_pretrained": (m.Tokenizer.from_pretrained, hub),
        "TrainingArguments": (TrainingArguments, {"iters": 1}),
        "ViTConfig": (m.ViTConfig, {}),
        "Config.from_dict": (
            type(config).from_dict,
            {"values": config.to_dict()},
        ),
        "Model": (type(model), {"config": config}),
        "Model.__call__": (
            model.__call__,
            {"pixel_values": pixels, "decoder_input_ids": mx.array([[2, 5]])},
        ),
        "Model.encode": (model.encode, {"pixel_values": pixels}),
        "Model.from_pretrained": (
            type(model).from_pretrained,
            {**hub, "lazy": True},
        ),
        "Model.generate": (
            model.generate,
            {"pixel_values": pixels, "max_new_tokens": 2},
        ),
        "Model.save_pretrained": (model.save_pretrained, {"folder": new / "m"}),
    }


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    return calls(tmp_path_factory.mktemp("wrong"))


def wrong(name: str, known: Calls) -> Iterator[str]:
    """What does not end as it may, of a call with one argument of a wrong type after another."""
    call, good = known[name]
    kinds = inspect.signature(call).parameters.values()
    defaults = {p.name: p.default for p in kinds if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    for parameter in dict.fromkeys((*defaults, *good)):
        for value in WRONG:
            if parameter in WRITES and isinstance(value, str):
                continue
            if value is defaults.get(parameter, WRONG):
                continue  # which is right
            if callable(value) and parameter in FUNCTIONS:
                continue  # whose own errors are the caller's
            if isinstance(defaults.get(parameter), bool) and hasattr(value, "shape"):
                continue  # which has no truth
            given = {**good, parameter: value}
            found = fault(lambda given=given: call(**given), seconds=5)
            if found is not None:
                yield f"{name}({parameter}={short(value)}): {found[:160]}"


def test_every_function_is_called(known):
    functions = {name for name in mlx_vedec.__all__ if inspect.isfunction(getattr(mlx_vedec, name))}
    assert functions <= known.keys()


@pytest.mark.parametrize("name", ["benchmark", "evaluate", "evaluate_pages", "verify"])
def test_wrong_types_of_what_measures(name, known):
    check(name, known)


@pytest.mark.slow
def test_wrong_types_of_everything(known):
    for name in known:
        check(name, known)


def check(name: str, known: Calls) -> None:
    found = [*wrong(name, known)]
    print("\n".join(found))
    assert not found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        every = calls(Path(scratch))
        for one in sys.argv[1:] or every:
            for line in wrong(one, every):
                print(line, flush=True)
