"""`examples/train_reader.py`: the lines that it draws, what it begins with, and its way through."""

from __future__ import annotations

import csv
import shutil
import string
import sys
from pathlib import Path
from types import ModuleType

import font_amatic_sc
import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import (
    Processor,
    VisionEncoderDecoderModel,
    batch_generate,
    load,
    shrink_vocabulary,
)
from mlx_vedec.reading.image_sizes import resize_images
from tests.conftest import DATA, ROOT

FONT = Path(font_amatic_sc.font_files["AmaticSCBold"])
WORDS = ["tea", "été", "naïve", "über", "smørrebrød", "człowiek", "tőke"]
LINE = DATA / "lines" / "seen_006.png"  # wheel 206,3


@pytest.fixture
def example(monkeypatch, tmp_path) -> ModuleType:
    """The example, with words and two typefaces of its own, one of them for the test."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import train_reader
    from reader_parts import texts, typefaces

    letters = frozenset(texts.CHARACTERS) - {"‚", "ª", "º"}
    files = [shutil.copy(FONT, tmp_path / name) for name in ("Amatic-Bold.ttf", "Lora-Bold.ttf")]
    known = [typefaces.Face(Path(file), (), letters) for file in files]
    monkeypatch.setattr(texts, "words", lambda language: WORDS)
    monkeypatch.setattr(train_reader, "faces", lambda folders: known)
    return train_reader


def drawn(example: ModuleType, count: int) -> list:
    return [*example.lines(count, example.faces(()), [1, 0])]


def test_lines_say_what_is_in_them_and_where(example):
    """Each text has known characters; its last letter ends where the ink does, or is cut there."""
    found = drawn(example, 40)
    assert len({line.text for line in found}) > 20
    assert any(not line.text.isascii() for line in found)
    for line in found:
        assert line.pixels.dtype == np.uint8 and line.pixels.shape[0] == 32
        assert 0 < len(line.text) == len(line.ends) <= 64
        assert (np.diff(line.ends) > -1).all()
        assert abs(line.ends[-1] - line.pixels.shape[1]) < 30


def test_lines_made_wider_say_the_same_where_it_is(example):
    """Between words there is more, blank; what is drawn of each letter stays as wide, or scales."""
    from reader_parts.batches import reshaped, spaced

    for line in [line for line in drawn(example, 40) if line.text.count(" ") in (1, 2)]:
        wider = spaced(line, 12)
        added = wider.pixels.shape[1] - line.pixels.shape[1]
        assert added == 12 * line.text.count(" ") and wider.text == line.text
        assert wider.ends[-1] == pytest.approx(line.ends[-1] + added)
        first = line.text.index(" ")
        assert (wider.ends[:first] == line.ends[:first]).all()
        narrow = reshaped(line, 0.9)
        share = narrow.pixels.shape[1] / line.pixels.shape[1]
        assert share < 1 and np.allclose(narrow.ends, share * line.ends)
    whole = spaced(line, 10_000)
    assert whole.pixels.shape[1] <= 768


def test_batches_have_each_line_once(example):
    from reader_parts.batches import Shard

    found = drawn(example, 30)
    ids = {"<pad>": 1, "</s>": 2, **{c: ord(c) for line in found for c in line.text}}
    letters = {id: c for c, id in ids.items()}
    read = []
    for batch in Shard(found).batches([0], ids):
        assert batch.pixels.shape[1:] == (32, 8 * batch.columns.shape[1])
        assert np.abs(batch.pixels).max() <= 1
        for fed, labels in zip(batch.inputs, batch.labels, strict=True):
            own = labels[labels >= 0].tolist()
            assert fed[: len(own)].tolist() == [2, *own[:-1]] and own[-1] == 2
            read.append("".join(letters[id] for id in own[:-1]))
    assert sorted(read) == sorted(line.text for line in found)


def test_a_table_that_turns_is_continued(example):
    from reader_parts.start import continued

    turns = np.outer(np.arange(60), [0.1, 0.2]) * np.pi / 2  # 1 and 2 times around in 40 rows
    table = np.concatenate([np.cos(turns), np.sin(turns), np.ones((60, 4))], axis=1)
    np.testing.assert_allclose(continued(table[:40], 20, rank=4), table[40:], atol=1e-4)
    assert continued(table, 0, rank=4).shape == (0, 8)


def first_edition(folder: Path) -> tuple[VisionEncoderDecoderModel, Processor]:
    """The bundled model with fewer characters and positions and half of the canvas, written."""
    model, processor = load()
    shrink_vocabulary(model, processor, [string.printable[:95]])
    resize_images(model, processor, (32, 384))
    model.decoder.embed_positions.weight = model.decoder.embed_positions.weight[:66]
    model.config.decoder.max_position_embeddings = 64
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def test_the_start_has_the_old_rows(example, tmp_path):
    """Characters that were known have the rows that they had; the canvas is twice as wide."""
    old, before = first_edition(tmp_path / "first")
    example.begin(tmp_path / "start", tmp_path / "first")
    new, after = load(tmp_path / "start")
    tables = [np.array(model.decoder.embed_tokens.weight) for model in (old, new)]
    rows = [p.tokenizer.backend.token_to_id("k") for p in (before, after)]
    np.testing.assert_array_equal(tables[0][rows[0]], tables[1][rows[1]])
    for short, long in (
        [np.array(model.encoder.position_embeddings[0]) for model in (old, new)],
        [np.array(model.decoder.embed_positions.weight) for model in (old, new)],
    ):
        assert len(short) < len(long)
        np.testing.assert_array_equal(short, long[: len(short)])
    assert after.decode(after.tokenizer.encode("Å „x” €"), skip_special_tokens=True) == "Å „x” €"
    assert after(images=LINE).pixel_values.shape == (1, 32, 768, 3)
    assert next(batch_generate(new, after, [LINE])).finish_reason in ("stop", "length")


@pytest.mark.slow
def test_its_way_from_lines_to_a_folder(example, tmp_path, monkeypatch, capsys):
    """Six lines in three updates, of which the last after a resumption, as without it."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    monkeypatch.setattr(example, "SHARD", 30)
    monkeypatch.setattr(example, "TESTS", 4)
    monkeypatch.setattr("reader_parts.batches.PIXELS", 768 * 3)
    monkeypatch.setattr("reader_parts.batches.WHOLE", 1.0)

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train_reader.py", *words])
        example.main()

    def learned(folder: Path) -> dict:
        return torch.load(folder / "state.pt")["model"]

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        run("render", str(folder), "--files", "1")
    run("train", str(whole), "--lines", "6", "--files", "1")
    run("train", str(parts), "--lines", "6", "--files", "1", "--until", "3")
    run("train", str(parts), "--lines", "6", "--files", "1", "--resume")
    one, two = learned(whole), learned(parts)
    assert all(torch.equal(one[name], two[name]) for name in one)
    rows = [*csv.DictReader((parts / "curve.csv").read_text().splitlines())]
    assert [int(row["lines"]) for row in rows] == [3, 6]
    run("convert", str(parts), "--save-path", str(tmp_path / "made"))
    assert "after 6 lines" in capsys.readouterr().out
    model, processor = load(tmp_path / "made")
    x = processor(images=LINE).pixel_values
    theirs = transformers.VisionEncoderDecoderModel.from_pretrained(
        tmp_path / "made", dtype=torch.float32
    ).eval()
    with torch.no_grad():
        logits = theirs(
            torch.tensor(np.array(x).transpose(0, 3, 1, 2)),
            decoder_input_ids=torch.tensor([[2, 9]]),
        ).logits.numpy()
    ours = np.array(model(x, decoder_input_ids=mx.array([[2, 9]])).logits)
    np.testing.assert_allclose(ours, logits, atol=1e-3)
