"""Donut's, Nougat's and manga-ocr's checkpoints through the pipeline and the command line."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from tokenizers import Tokenizer as Backend, decoders, models, pre_tokenizers

from mlx_vedec import (
    DonutProcessor,
    NougatProcessor,
    Processor,
    Tokenizer,
    batch_generate,
    commands,
    generate,
    load,
    stream_generate,
)
from mlx_vedec.errors import OptionError
from mlx_vedec.reading.parts import parts_of
from mlx_vedec.reading.processor import MangaOCRProcessor
from mlx_vedec.tasks.donut import token2json
from mlx_vedec.tasks.donut_prompts import added_vocabulary, answer_text
from tests.conftest import DATA
from tests.support.tiny import tiny_model

LINE = str(DATA / "lines" / "seen_006.png")
TAGS = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>", "<sep/>"]


@pytest.fixture
def folder(tmp_path):
    """A checkpoint with a tiny model and byte-level letters; each test adds what makes its kind."""
    model = tiny_model(decoder={"vocab_size": 40, "max_position_embeddings": 30})
    for config in (model.config, model.config.decoder, model.generation_config):
        config.decoder_start_token_id, config.bos_token_id = 0, 0
        config.eos_token_id, config.pad_token_id = 2, 1
    model.save_pretrained(tmp_path)
    return tmp_path


def write(folder, tokens, kind, **settings):
    vocabulary = {token: id for id, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *tokens])}
    backend = Backend(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    backend.add_tokens([token for token in tokens if token.startswith("<")])
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    content = {"image_processor_type": "ViTImageProcessor", "size": 16}
    named = {"processor_class": kind} if kind else {}
    (folder / "preprocessor_config.json").write_text(json.dumps({**content, **named}))
    return load(folder)


LETTERS = [chr(ord("a") + i) for i in range(26)]


@pytest.fixture
def donut(folder):
    return write(folder, [*TAGS, *LETTERS], "DonutProcessor")


def test_a_question_is_put_inside_the_tags_and_the_answer_is_data(donut):
    model, processor = donut
    assert isinstance(processor, DonutProcessor)
    assert processor.prompt_text("who") == "<s_docvqa><s_question>who</s_question><s_answer>"
    assert processor.prompt_text("<s_answer>") == "<s_answer>"
    assert processor.decode(processor.prompt_ids("who")) == processor.prompt_text("who")
    result = generate(model, processor, LINE, "who", max_new_tokens=6)
    assert result.prompt_tokens == 1 + 7 and 3 not in result.tokens  # no <unk>
    sequence = processor.decode([*processor.prompt_ids("who"), *result.tokens])
    assert result.text == answer_text(sequence) and result.text.startswith("<s_question>who</s_")
    assert result.data == token2json(result.text, added_vocabulary(processor.tokenizer))
    with pytest.raises(OptionError, match="give question"):
        generate(model, processor, LINE)


def test_the_grammar_closes_what_is_open(donut):
    model, processor = donut
    for prompt in ("who", "<s_docvqa>"):
        plain = generate(model, processor, LINE, prompt)
        for beams in (1, 2):
            result = generate(model, processor, LINE, prompt, grammar=True, num_beams=beams)
            names = added_vocabulary(processor.tokenizer)
            opened = [i for t, i in names.items() if t.startswith("<s_")]
            closed = [i for t, i in names.items() if t.startswith("</s_")]
            balance = sum(t in opened for t in result.tokens) - sum(
                t in closed for t in result.tokens
            )
            assert balance == (-1 if prompt == "who" else 0)
            assert result.tokens != plain.tokens or plain.finish_reason == "stop"


def test_a_grammar_needs_fields(folder):
    model, processor = write(folder, LETTERS, None)
    with pytest.raises(OptionError, match="leave the grammar out"):
        generate(model, processor, LINE, grammar=True)


def test_data_at_the_command_line(donut, folder, capsys):
    model, processor = donut
    result = generate(model, processor, LINE, "who", max_new_tokens=6)
    flags = ["generate", "--model", str(folder), "--image", LINE, "-p", "who", "-m", "6"]
    assert commands.main(flags) == 0
    assert json.loads(capsys.readouterr().out) == result.data
    assert commands.main([*flags, "--json", "--grammar"]) == 0
    assert "answer" in json.loads(capsys.readouterr().out)["data"]


def test_streams_of_tasks_have_the_prompt_too(donut):
    model, processor = donut
    responses = list(stream_generate(model, processor, LINE, "who", max_new_tokens=6))
    result = generate(model, processor, LINE, "who", max_new_tokens=6)
    assert tuple(r.token for r in responses) == result.tokens


def test_pages_become_markdown(folder):
    model, processor = write(folder, ["#", " ", "\n", "\\", "(", ")", *LETTERS], "NougatProcessor")
    assert isinstance(processor, NougatProcessor)
    [result] = batch_generate(model, processor, [LINE])
    assert result.text == processor.read([], result.tokens).text and result.data is None


def test_a_document_is_read_on_where_it_was_left(folder, tmp_path, capsys):
    write(folder, ["#", " ", "\n", *LETTERS], "NougatProcessor")
    pages = [tmp_path / f"{n}.png" for n in range(3)]
    for page in pages:
        shutil.copy(LINE, page)
    target = tmp_path / "document"
    target.mkdir()
    (target / "1.md").write_text("read before\n")
    flags = ["generate", "--model", str(folder), "--pages", str(target), "-m", "5", "--image"]
    assert commands.main([*flags, *map(str, pages)]) == 0
    assert sorted(path.name for path in target.iterdir()) == ["0.md", "1.md", "2.md"]
    assert (target / "1.md").read_text() == "read before\n"
    before = (target / "0.md").read_bytes()
    pages[0].write_text("no image any more")
    assert commands.main([*flags, *map(str, pages)]) == 0
    assert (target / "0.md").read_bytes() == before and capsys.readouterr().out == ""


def test_manga_is_read_without_spaces(folder):
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"あいうえおかきくけこ.・ABCDE12345",
    ]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    settings = {
        "tokenizer_class": "BertJapaneseTokenizer",
        "word_tokenizer_type": "mecab",
        "subword_tokenizer_type": "character",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    content = {"feature_extractor_type": "ViTFeatureExtractor", "size": 16}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    processor = Processor.from_pretrained(folder)
    assert isinstance(processor, MangaOCRProcessor)
    ids = processor.tokenizer.encode("あA…1", add_special_tokens=False)
    assert processor.decode(ids) == "あ A . . . 1"
    assert processor.read([], ids).text == "あＡ．．．１"
    processor.save_pretrained(folder / "again")
    assert isinstance(Processor.from_pretrained(folder / "again"), MangaOCRProcessor)
    assert isinstance(processor.tokenizer, Tokenizer)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the files of the checkpoint differ")
def test_nougats_pages_stop_when_they_repeat_themselves(folder):
    """By default, and the loop is cut off; not for other checkpoints, nor where that is unset."""
    model = tiny_model(decoder={"vocab_size": 40, "max_position_embeddings": 700})
    for config in (model.config, model.config.decoder, model.generation_config):
        config.decoder_start_token_id, config.bos_token_id = 0, 0
        config.eos_token_id, config.pad_token_id = 2, 1
    model.generation_config.eos_token_id = None  # so that no page ends by itself
    model.save_pretrained(folder)
    model, processor = write(folder, ["#", " ", "\n", *LETTERS], "NougatProcessor")
    whole = generate(model, processor, LINE, stop_on_repetition=False)
    assert whole.finish_reason == "length" and len(whole.tokens) == 700
    stopped = generate(model, processor, LINE)
    assert stopped.finish_reason == "repetition" and len(stopped.tokens) < 500
    assert stopped.tokens == whole.tokens[: len(stopped.tokens)]
    assert len(stopped.token_logprobs) == len(stopped.tokens)
    assert generate(model, processor, LINE, num_beams=2, max_new_tokens=40).tokens
    model, other = write(folder, ["#", " ", "\n", *LETTERS], None)
    assert len(generate(model, other, LINE).tokens) == 700


def test_a_page_is_cut_where_its_loop_begins():
    from mlx_vedec.generation.search import Decoded
    from mlx_vedec.reading.image_queue import without_loop

    peaks = tuple(20.0 + 3 * (step % 7) * (step < 300) for step in range(2000))
    page = Decoded(tuple(range(2000)), (-0.5,) * 2000, -0.5, "length", peaks=peaks)
    cut = without_loop(page)
    assert (len(cut.tokens), len(cut.logprobs), cut.reason) == (426, 426, "repetition")
    for kept in (
        Decoded((1,), (0.0,), 0.0, "length"),
        Decoded((1,), (0.0,), 0.0, "stop", peaks=peaks),
    ):
        assert without_loop(kept) is kept


def test_fields_have_confidences_and_boxes(donut):
    model, processor = donut
    result = generate(model, processor, LINE, "who", max_new_tokens=6, grammar=True, boxes=True)
    width, height = result.box[2:]
    for part in result.parts:
        assert part.name and 0 < part.confidence <= 1
        left, top, right, bottom = part.box
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert generate(model, processor, LINE, "who", max_new_tokens=6).parts == tuple(
        replace(p, box=None)
        for p in generate(model, processor, LINE, "who", max_new_tokens=6, boxes=True).parts
    )


def test_parts_are_found_in_the_tokens(donut):
    """Each part has the probabilities of its own tokens; a changed one those in between."""
    _, processor = donut
    tokens = processor.tokenizer.encode("teaxricey", add_special_tokens=False)
    logprobs = [-0.1] * 3 + [-2.0] + [-0.2] * 4 + [-3.0]
    named = [("a", "tea"), ("b", "r i c e"), ("c", "other")]
    found = parts_of(
        processor.tokenizer, tokens, logprobs, named, lambda indices: (indices[0],) * 4
    )
    assert [(p.name, round(math.log(p.confidence), 6)) for p in found] == [
        *(("a", -0.1), ("b", -0.2), ("c", -3.0))
    ]
    assert [p.box[0] for p in found] == [0, 4, 8]
    assert parts_of(processor.tokenizer, [], [], named) == ()


def test_lines_of_nougat_as_json(folder, capsys):
    write(folder, ["#", " ", "\n", *LETTERS], "NougatProcessor")
    flags = ["generate", "--model", str(folder), "--image", LINE, "-m", "9", "--json", "--boxes"]
    assert commands.main(flags) == 0
    row = json.loads(capsys.readouterr().out)
    assert [line["text"] for line in row["lines"]] == [x for x in row["text"].split("\n") if x]
    assert all(len(line["box"]) == 4 and 0 < line["confidence"] <= 1 for line in row["lines"])
