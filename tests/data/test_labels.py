"""Labels: what they are of a text and a prompt, and that training sees what `generate` feeds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import processors

from mlx_vedec.data.batches import Batches
from mlx_vedec.data.labels import Labeller, describe
from mlx_vedec.data.samples import Sample
from mlx_vedec.encoders.swin import DonutSwinConfig
from mlx_vedec.errors import DataError, TokenError
from mlx_vedec.reading.processor import DonutProcessor, Processor
from mlx_vedec.text.tokenizer import Tokenizer
from tests.data.test_batches import batches, data
from tests.support import training_parts as parts
from tests.support.training_parts import BOS, EOS


@pytest.fixture(scope="module")
def model():
    return parts.model()


@pytest.fixture(scope="module")
def processor():
    return parts.processor()


def test_labels_are_the_text_and_its_end(model, processor):
    target = Labeller(model, processor)(Sample("a.png", "tea"))
    assert target.ids.tolist() == [EOS, *processor.reader.encode("tea", False), EOS]
    assert target.labels().tolist() == target.ids.tolist()[1:]
    assert (target.prompt, target.length) == (1, 4)


@settings(max_examples=60, deadline=None)
@given(st.text("abc xyz", min_size=1, max_size=15), st.sampled_from([(), (BOS,)]))
def test_labels_are_read_back(text, leading):
    model, processor = PAIR
    labels = Labeller(model, processor, leading=leading)(Sample("a.png", text)).labels()
    assert processor.decode(labels, skip_special_tokens=True) == text
    assert labels.tolist().count(EOS) == 1
    assert labels[-1] == EOS


PAIR = parts.model(), parts.processor()


def test_the_end_comes_once(model, processor):
    labeller = Labeller(model, processor)
    plain, ended = labeller(Sample("a", "tea")), labeller(Sample("a", "tea</s></s>"))
    assert plain.ids.tolist() == ended.ids.tolist()
    with pytest.raises(DataError, match="the text has </s> inside, where generation ends"):
        labeller(Sample("a", "a</s>b"))


@pytest.mark.parametrize(
    ("stops", "own", "end"), [(EOS, EOS, EOS), (7, EOS, 7), (None, EOS, EOS), ([7, EOS], EOS, EOS)]
)
def test_the_end_is_one_that_generation_stops_at(stops, own, end):
    model = parts.model(eos_token_id=stops)
    assert Labeller(model, parts.processor()).end == end


def test_no_end():
    reader = parts.tokenizer()
    reader.eos_token = None
    with pytest.raises(TokenError, match="neither the tokenizer nor the generation config names"):
        Labeller(parts.model(eos_token_id=None), Processor(tokenizer=reader))


@pytest.mark.parametrize("written", [BOS, EOS, 9])
@pytest.mark.parametrize("training", [False, True])
def test_what_the_model_writes_first_is_a_label(processor, written, training):
    """`<s>` before texts, for checkpoints that were trained on the tokenizer's ids as they are."""
    model = parts.model(decoder_start_token_id=BOS)
    model.config.decoder_start_token_id = BOS
    parts.writes_first(model, written)
    model.train(training)
    made = Batches(data(2), model, processor, batch_size=2, workers=0)
    assert made.labeller.leading == ([BOS] if written == BOS else [])
    assert model.training == training
    (batch,) = made.epoch(0)
    first = model.generate(batch.pixel_values, max_new_tokens=1)
    assert first[0].tolist() == [BOS, written]
    assert batch.decoder_input_ids[:, 0].tolist() == [BOS, BOS]
    assert (batch.labels[0, 0].item() == BOS) == (written == BOS)


def test_tokenizers_that_put_nothing_first_are_not_asked(processor):
    model = parts.model()
    parts.writes_first(model, BOS)
    backend = parts.tokenizer().backend
    backend.post_processor = processors.ByteLevel()
    bare = Processor(processor.image_processor, Tokenizer(backend.to_str().encode()))
    assert Labeller(model, bare).written_first(Sample(parts.picture(), "a")) == []
    donut = DonutProcessor(processor.image_processor, parts.tokenizer(["<s_task>"]))
    assert Labeller(model, donut).written_first(Sample(parts.picture(), "a")) == []


@pytest.mark.parametrize("start", [BOS, EOS, 9])
def test_training_feeds_what_generation_feeds(processor, start):
    model = parts.model(decoder_start_token_id=start)
    model.config.decoder_start_token_id = start
    (batch,) = batches(model, processor, data(3)).epoch(0)
    fed, _ = model.prompt(3, None, model.generation_options())
    assert batch.decoder_input_ids[:3, :1].tolist() == fed.tolist()
    shifted = model.prepare_decoder_input_ids_from_labels(batch.labels)
    assert batch.decoder_input_ids.tolist() == shifted.tolist()


def test_another_start_token_in_the_config_is_a_warning(processor):
    model = parts.model()
    model.config.decoder_start_token_id = BOS
    with pytest.warns(UserWarning, match=r"starts from </s> \(2\), but the config's .* <s> \(0\)"):
        made = batches(model, processor)
    assert next(made.epoch(0)).decoder_input_ids[0, 0].item() == EOS


# prompts

ASKED = ["<s_task>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]


def donut():
    """A model whose prompts are whole, as Donut's, and a processor that knows a task."""
    model = parts.model()
    model.encoder.config.__class__ = type(
        "Whole", (type(model.encoder.config),), {"prompts_are_whole": True}
    )
    model.resize_token_embeddings(40)
    return model, parts.processor(ASKED, DonutProcessor)


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_a_task_is_what_the_decoder_starts_from(mask_prompt):
    model, processor = donut()
    assert DonutSwinConfig.prompts_are_whole
    made = batches(model, processor, [(parts.picture(), "tea")], mask_prompt=mask_prompt)
    (batch,) = made.epoch(0)
    task, *text = processor.reader.encode("<s_task>tea", False)
    assert batch.decoder_input_ids[0, :5].tolist() == [task, *text, EOS]
    assert batch.labels[0, :5].tolist() == [*text, EOS, -100]
    assert (batch.prompts, batch.tokens) == ((1,), 4)


@pytest.mark.parametrize("mask_prompt", [False, True])
def test_a_question_can_be_masked(mask_prompt):
    model, processor = donut()
    sample = Sample(parts.picture(), "me</s_answer>", "who")
    (batch,) = batches(model, processor, [sample], mask_prompt=mask_prompt).epoch(0)
    ids = processor.reader.encode(
        "<s_task><s_question>who</s_question><s_answer>me</s_answer></s>", False
    )
    prompt = ids.index(processor.reader.encode("<s_answer>", False)[0])
    expected = [-100] * prompt * mask_prompt + ids[1 + prompt * mask_prompt :]
    assert batch.decoder_input_ids[0, : len(ids)].tolist() == ids
    assert batch.labels[0, : len(ids) - 1].tolist() == expected
    assert batch.tokens == sum(label != -100 for label in expected)
    fed = processor.reader.encode(processor.prompt_text("who"), False)
    assert batch.prompts == (len(fed),)
    assert model.prompt(1, [fed], model.generation_options())[0].tolist() == [ids[: len(fed)]]


def test_a_prompt_comes_behind_the_start_token(model, processor):
    sample = Sample(parts.picture(), "tea", "ab")
    (batch,) = batches(model, processor, [sample], mask_prompt=True).epoch(0)
    ids = [EOS, *processor.reader.encode("abtea", False), EOS]
    assert batch.decoder_input_ids[0, :7].tolist() == ids
    assert batch.labels[0, :7].tolist() == [-100, -100, *ids[3:], -100]
    assert batch.prompts == (3,)


def test_describe(model, processor):
    made = batches(model, processor, [Sample(parts.picture(), "a b", "q", "f.txt:3")])
    assert made.describe().split("\n") == [
        "sample         f.txt:3",
        "text           'a b'",
        "decoder input  </s> q a Ġ b",
        "labels         q a Ġ b </s>",
        f"label ids      {' '.join(map(str, made.ids[0].ids[1:]))}",
        "read back      'a b'",
    ]
    assert "labels         · a Ġ b </s>" in describe(
        made.labeller, made.dataset[0], mask_prompt=True
    )
