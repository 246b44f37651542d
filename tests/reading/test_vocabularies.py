"""Another vocabulary in Python: what the bundled model reads with it, and the worked example."""

from __future__ import annotations

import runpy
import sys

import font_amatic_sc
import pytest
from PIL import ImageFont

from mlx_vedec import (
    Processor,
    VisionEncoderDecoderModel,
    generate,
    load,
    new_vocabulary,
    shrink_vocabulary,
)
from mlx_vedec.errors import ConfigError
from tests.conftest import DATA, ROOT
from tests.support import training_parts as parts
from tests.support.readers import reads_again

LINE = DATA / "lines" / "seen_006.png"  # wheel 206,3
EXAMPLE = ROOT / "examples" / "learn_script.py"


@pytest.mark.parametrize("change", [new_vocabulary, shrink_vocabulary])
def test_what_is_still_in_the_vocabulary_is_read_as_before(change, tmp_path):
    """Each letter has the row that it had; so has the text that is saved and loaded again."""
    model, processor = reads_again()
    before = generate(model, processor, LINE)
    vocabulary = change(model, processor, [before.text, "abcdef 0123456789"])
    assert vocabulary.new == 0 and vocabulary.rows == 278
    assert model.config.decoder.vocab_size == len(vocabulary.sources) == len(processor.tokenizer)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for made in ((model, processor), load(tmp_path)):
        after = generate(*made, LINE)
        assert after.text == before.text
        assert [vocabulary.sources[id] for id in after.tokens] == list(before.tokens)


def test_a_token_without_a_row_is_a_new_one():
    """Of a tokenizer with more tokens than its model, as where they are added later."""
    model, processor = parts.model(), Processor(tokenizer=parts.tokenizer(["<s_a>", "<s_b>"]))
    model.resize_token_embeddings(32)
    vocabulary = shrink_vocabulary(model, processor, ["tea"])
    backend = processor.tokenizer.backend
    assert [vocabulary.sources[backend.token_to_id(f"<s_{x}>")] for x in "ab"] == [31, None]


def test_quantized_tables_are_refused_before_anything_is_changed():
    model, processor = load(quantize=8)
    content = processor.tokenizer.content
    for change in (new_vocabulary, shrink_vocabulary):
        with pytest.raises(ConfigError, match="the embedding is quantized; dequantize the model"):
            change(model, processor, ["tea"])
    assert processor.tokenizer.content == content


@pytest.mark.slow
def test_the_example(tmp_path, monkeypatch, capsys):
    """Its way from lines to a saved model, with one typeface that has the letters."""
    main = runpy.run_path(str(EXAMPLE))["main"]
    font = ImageFont.truetype(font_amatic_sc.font_files["AmaticSCBold"], 40)
    monkeypatch.setitem(main.__globals__, "faces", lambda family: [font])
    words = ["--iters", "2", "--lines", "300", "--save-path", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", ["learn_script.py", *words])
    main()
    out = capsys.readouterr().out
    assert "87 tokens, 66 of them new" in out and "after:  CER" in out
    model, processor = load(tmp_path / "model")
    assert isinstance(model, VisionEncoderDecoderModel)
    assert processor.decode(processor.tokenizer.encode("ёж"), skip_special_tokens=True) == "ёж"
