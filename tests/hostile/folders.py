"""Hostile files: checkpoints, adapters, training state, data and layouts with something spoiled."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from mlx_vedec import (
    Batches,
    LoraConfig,
    Page,
    add_adapters,
    convert,
    export_peft,
    generate,
    import_peft,
    load,
    load_adapters,
    load_dataset,
    load_splits,
    save_adapters,
    train,
)
from mlx_vedec.checkpoints.weights import read_file
from mlx_vedec.commands.lora_flags import parser, read_settings
from mlx_vedec.data.datasets import labelled_images
from mlx_vedec.measuring.inspection import inspect
from tests.hostile.values import spoiled_bytes, spoiled_json
from tests.pages.layouts import alto, alto_line, block, page_xml, text_line, text_region
from tests.support import training_parts as parts
from tests.support.training import RandomBatches, fresh, quick

Case = tuple[str, Callable[[], object]]
PICTURE = parts.picture()


@cache
def whole(home: Path) -> Path:
    """What is spoiled: a checkpoint, adapters of both forms, a training's state, data, layouts."""
    folder = home / "whole"
    checkpoint = folder / "checkpoint"
    parts.model().save_pretrained(checkpoint)
    parts.processor().save_pretrained(checkpoint)
    model = parts.model()
    add_adapters(model, LoraConfig(rank=2, targets=("decoder", "attention")))
    save_adapters(model, folder / "adapters")
    export_peft(model, folder / "peft")
    train(
        fresh(),
        RandomBatches(3),
        quick(iters=2, save_every=1, keep_checkpoints=2),
        valid=RandomBatches(1, seed=9),
        folder=folder / "training",
        save=lambda path: None,
    )
    data = folder / "data"
    parts.pictures(data, 2)
    rows = [{"image": f"{n:03}.png", "text": text} for n, text in enumerate(("tea", "rice"))]
    (data / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    layouts = folder / "layouts"
    layouts.mkdir()
    line = text_line("l", more="<TextEquiv conf='0.5'><Unicode>tea</Unicode></TextEquiv>")
    (layouts / "page.xml").write_bytes(page_xml(text_region("r", line)))
    (layouts / "alto.xml").write_bytes(alto(block("b", alto_line("l"))))
    word = '<span class="ocrx_word" title="bbox 1 1 9 9; x_wconf 90">tea</span>'
    (layouts / "page.hocr").write_text(
        '<html><body><div class="ocr_page" title="bbox 0 0 400 300; image page.png">'
        f'<span class="ocr_line" title="bbox 1 1 90 20">{word}</span></div></body></html>'
    )
    return folder


def _copy(scratch: Path, what: str) -> Path:
    """A fresh copy of one of them."""
    target = scratch / what
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(whole(scratch) / what, target)
    return target


def _spoil(path: Path, rng: Random) -> str:
    """Change a file in a way of its kind; what was done."""
    data = path.read_bytes()
    fate = rng.random()
    if fate < 0.03:
        path.unlink()
        return "missing"
    if fate < 0.05:
        path.unlink()
        path.mkdir()
        return "a folder"
    if fate < 0.065:
        path.unlink()
        path.symlink_to(path) if fate < 0.055 else os.mkfifo(path)
        return "a link to itself" if fate < 0.055 else "a pipe"
    if path.suffix == ".safetensors" and fate < 0.7:
        length = struct.unpack("<Q", data[:8])[0]
        if fate < 0.1:
            size = rng.choice((0, 1, length - 1, length + 1, len(data), 2**31, 2**63, 2**64 - 1))
            path.write_bytes(struct.pack("<Q", size) + data[8:])
            return f"a header of {size} bytes"
        text, done = spoiled_json(data[8 : 8 + length].decode(), rng)
        header = text.encode("utf-8", "surrogatepass")
        path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
        return done
    if path.suffix == ".json" and fate < 0.9:
        text, done = spoiled_json(data.decode(), rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return done
    if path.suffix == ".jsonl" and fate < 0.7:
        first, *rest = data.decode().splitlines()
        text, done = spoiled_json(first, rng)
        path.write_bytes("\n".join([text, *rest, ""]).encode("utf-8", "surrogatepass"))
        return done
    spoiled, done = spoiled_bytes(data, rng)
    path.write_bytes(spoiled)
    return done


CHECKPOINT = ("config.json",) * 4 + (
    *("generation_config.json", "preprocessor_config.json", "tokenizer.json") * 2,
    *("tokenizer_config.json", "model.safetensors", "model.safetensors"),
)


def checkpoints(scratch: Path, rng: Random) -> Case:
    """A checkpoint with one file spoiled: loaded, used, looked at or converted."""
    folder = _copy(scratch, "checkpoint")
    name = rng.choice(CHECKPOINT)
    done = _spoil(folder / name, rng)
    use = rng.choice(("generate", "generate", "generate", "inspect", "convert"))

    def call() -> None:
        if use == "generate":
            model, processor = load(folder)
            result = generate(model, processor, PICTURE, max_new_tokens=3)
            assert 0 <= result.confidence <= 1, f"confidence is {result.confidence}"
        elif use == "inspect":
            inspect(folder).to_dict()
        else:
            convert(folder, scratch / "converted", overwrite=True, quantize=rng.choice((None, 8)))

    return f"{use}: {name}: {done}", call


def adapters(scratch: Path, rng: Random) -> Case:
    """Adapters of ours or PEFT's with a file spoiled, loaded on their model."""
    kind = rng.choice(("adapters", "peft"))
    folder = _copy(scratch, kind)
    path = rng.choice(sorted(folder.iterdir()))
    done = _spoil(path, rng)
    use = load_adapters if kind == "adapters" or rng.random() < 0.5 else import_peft
    return f"{kind}/{path.name}: {done}", lambda: use(parts.model(), folder)


def states(scratch: Path, rng: Random) -> Case:
    """A training with a file of its state spoiled, which is gone on with."""
    folder = _copy(scratch, "training")
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    path = rng.choice([p for p in found if p.name == "state.json" or rng.random() < 0.4])
    done = _spoil(path, rng)

    def call() -> None:
        train(
            fresh(),
            RandomBatches(3),
            quick(iters=3, save_every=1),
            valid=RandomBatches(1, seed=9),
            folder=folder,
            save=lambda path: None,
            resume=True,
        )

    return f"{path.relative_to(folder)}: {done}", call


def data(scratch: Path, rng: Random) -> Case:
    """A folder of images and texts with a file spoiled, or rows that make no sense."""
    folder = _copy(scratch, "data")
    path = rng.choice((*[folder / "metadata.jsonl"] * 3, folder / "000.png"))
    if rng.random() < 0.3:
        table, separator = rng.choice((("metadata.csv", ","), ("labels.tsv", "\t")))
        (folder / "metadata.jsonl").unlink()
        path = folder / table
        path.write_text(
            f"file_name{separator}text\n000.png{separator}tea\n001.png{separator}rice\n"
        )
    done = _spoil(path, rng)

    def call() -> None:
        labelled_images(folder)
        load_splits(folder)
        batches = Batches(load_dataset(folder), parts.model(), parts.processor(), batch_size=2)
        [*batches.epoch(0)]

    return f"{path.name}: {done}", call


def layouts(scratch: Path, rng: Random) -> Case:
    """A PAGE, ALTO or hOCR file with bytes changed, read and written in every format."""
    folder = _copy(scratch, "layouts")
    path = rng.choice(sorted(folder.iterdir()))
    done = _spoil(path, rng)
    format = rng.choice(("text", "json", "page", "alto", "hocr", "tsv", "markdown"))
    return f"{path.name}: {done}, as {format}", lambda: Page.from_file(path).to_bytes(format)


def settings(scratch: Path, rng: Random) -> Case:
    """A file of `lora`'s flags with values of wrong types."""
    values = {"rank": 4, "iters": 3, "targets": ["mlp"], "train": True, "model": "x", "seed": 0}
    text, done = spoiled_json(json.dumps({**values, "lora_parameters": {"scale": 2.0}}), rng)
    path = scratch / rng.choice(("lora.json", "lora.yaml"))
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return f"{path.name}: {done}", lambda: read_settings(path, parser())


def tensors(scratch: Path, rng: Random) -> Case:
    """A file of tensors with its header or its bytes spoiled."""
    path = _copy(scratch, "checkpoint") / "model.safetensors"
    done = _spoil(path, rng)
    return f"model.safetensors: {done}", lambda: read_file(path)
