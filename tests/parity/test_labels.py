"""Batches against transformers: its tokenizer's labels, its shift, its loss, its first step."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers import PreTrainedTokenizerFast  # noqa: E402

from mlx_vedec.data.batches import Batches  # noqa: E402
from mlx_vedec.data.labels import Labeller  # noqa: E402
from mlx_vedec.data.samples import Sample  # noqa: E402
from mlx_vedec.reading.processor import NougatProcessor, Processor  # noqa: E402
from mlx_vedec.text.tokenizer import Tokenizer  # noqa: E402
from tests.parity.reference import pair  # noqa: E402
from tests.support import training_parts as parts  # noqa: E402

TEXTS = ["tea", "a cup of tea", "rice and", "x", "no"]


@pytest.mark.parametrize("decoder", ["TrOCR", "Bert", "Roberta", "GPT2", "MBart"])
@pytest.mark.parametrize("leading", [[], [parts.BOS]], ids=["text first", "<s> first"])
def test_labels_and_loss(tmp_path, decoder, leading):
    """Our labels are transformers' with or without their first token, and are worth the same.

    The row that fills up the second of two processes' shares of five rows changes nothing.
    """
    theirs, ours = pair(tmp_path, decoder=(decoder, {}))
    processor = parts.processor()
    processor.save_pretrained(tmp_path)
    reader = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    rows = [(parts.picture(number), text) for number, text in enumerate(TEXTS)]
    options = {"batch_size": 6, "shuffle": False, "leading": leading, "workers": 0}
    made = Batches(rows, ours, processor, **options)
    (batch,) = made.epoch(0)
    ids = [reader(text).input_ids[0 if leading else 1 :] for text in TEXTS]
    labels = np.full((5, 16), -100)
    for row, own in zip(labels, ids, strict=True):
        row[: len(own)] = own
    assert batch.labels.tolist() == labels.tolist()
    assert batch.tokens == sum(map(len, ids))
    targets, pixels = torch.tensor(labels), np.array(batch.pixel_values)
    shifted = theirs.prepare_decoder_input_ids_from_labels(targets)
    assert batch.decoder_input_ids.tolist() == shifted.tolist()
    x = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = theirs(pixel_values=x, labels=targets)
        written = theirs.generate(x, max_new_tokens=1, do_sample=False)
    assert written[:, 0].tolist() == batch.decoder_input_ids[:, 0].tolist()
    assert written[:, 1].tolist() == expected.logits[:, 0].argmax(-1).tolist()
    scale = max(1, abs(expected.loss.item()))
    whole = ours(batch.pixel_values, batch.decoder_input_ids, labels=batch.labels).loss.item()
    assert abs(whole - expected.loss.item()) <= 1e-5 * scale
    total = 0.0
    for rank in range(2):
        (share,) = Batches(rows, ours, processor, rank=rank, world=2, **options).epoch(0)
        loss = ours(share.pixel_values, share.decoder_input_ids, labels=share.labels).loss
        total += loss.item() * share.tokens
    assert abs(total / batch.tokens - expected.loss.item()) <= 1e-5 * scale


# folder, text, the id of the end, what transformers' users get beside it
REAL = [
    ("tokenizers/nougat", "Figure 1: the fox", 2, NougatProcessor),
    ("tokenizers/manga-ocr", "日本語", 3, Processor),
    ("checkpoints/tiny-ocr", "DC's disrepair Nib&Caleb's", 2, Processor),
]


@pytest.mark.parametrize(("name", "text", "end", "kind"), REAL, ids=lambda value: str(value)[:20])
def test_real_tokenizers(shared, name, text, end, kind):
    reader = Tokenizer.from_pretrained(shared / name)
    theirs = PreTrainedTokenizerFast.from_pretrained(shared / name)
    expected = theirs(text).input_ids
    model = parts.model(eos_token_id=end)
    processor = kind(parts.processor().image_processor, reader)
    for leading in ([], expected[:1]):
        labels = Labeller(model, processor, leading=leading)(Sample("a", text)).labels()
        assert labels.tolist() == expected[0 if leading else 1 :]
        read = reader.decode(labels, skip_special_tokens=True)
        assert read.replace(" ", "") == text.replace(" ", "")
    parts.writes_first(model, expected[0])
    asked = Labeller(model, processor).written_first(Sample(parts.picture(), text))
    assert asked == expected[:1]
