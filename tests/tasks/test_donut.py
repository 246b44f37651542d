"""Donut's tags and JSON, its prompts, and the grammar on rows that are drawn at random."""

from __future__ import annotations

import json
import time

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer as Backend, models

from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.tasks.donut import LEVELS, json2token, token2json
from mlx_vedec.tasks.donut_grammar import field_grammar
from mlx_vedec.tasks.donut_prompts import (
    added_vocabulary,
    answer_text,
    field_names,
    task_prompt,
    task_tokens,
)
from mlx_vedec.text.tokenizer import Tokenizer
from tests.support.tiny import pixels, tiny_model

# --- tags and JSON

LETTERS = "abcé.+(\\ 9"
VALUES = st.text(LETTERS, max_size=4).map(str.strip)
KEYS = st.text("abc.+([\\-", min_size=1, max_size=3)


def objects(keys, depth):
    """Objects that tags can say: no key inside itself, lists of two or more and of one kind."""
    if not depth or len(keys) < 2:
        return st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=3)
    own, inner = keys[::2], keys[1::2]
    parts = objects(inner, depth - 1)
    several = [st.lists(kind, min_size=2, max_size=3) for kind in (VALUES, parts)]
    values = st.one_of(VALUES, parts, *several)
    return st.dictionaries(st.sampled_from(own), values, min_size=1, max_size=3)


@settings(max_examples=80, deadline=None)
@given(st.lists(KEYS, min_size=1, max_size=12, unique=True).flatmap(lambda k: objects(k, 3)))
def test_what_is_written_is_read_again(data):
    for sort_keys in (True, False):
        text, tokens = json2token(data, sort_keys)
        assert token2json(text) == data
        assert "<sep/>" not in text or "<sep/>" in tokens
        assert all(token in text for token in tokens)


def test_writing():
    data = {"b": [{"x": 1}, {"x": None, "y": "yes"}], "a": ["u", "v"], "c": {"text_sequence": "t"}}
    text, tokens = json2token(data, added_vocab={"<yes/>": 0, "<s_c>": 1})
    assert text == (
        "<s_c>t</s_c><s_b><s_x>1</s_x><sep/><s_y><yes/></s_y><s_x>None</s_x></s_b>"
        "<s_a>u<sep/>v</s_a>"
    )
    assert " ".join(tokens) == "</s_c> <s_b> </s_b> <sep/> <s_x> </s_x> <s_y> </s_y> <s_a> </s_a>"
    assert json2token({"a": 1, "b": 2}, sort_keys=False)[0] == "<s_a>1</s_a><s_b>2</s_b>"
    assert json2token([{"a": 1}, {"a": 2}])[0] == "<s_a>1</s_a><sep/><s_a>2</s_a>"
    assert json2token({"text_sequence": "plain"}) == ("plain", [])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({3: "x"}, "key 3 makes no tag"),
        ({"a>": "x"}, "makes no tag"),
        (
            {"a": {"b": {"A": "x"}}},
            "field 'A' stands inside a > b; expected none inside one of its",
        ),
        ({"a": [["x"]]}, "a list stands in a list inside a"),
    ],
)
def test_what_tags_cannot_say(data, message):
    with pytest.raises(OptionError, match=message):
        json2token(data)


def nested(levels, between=""):
    names = [f"k{level}" for level in range(levels)]
    start = "".join(f"{between.format(name)}<s_{name}>" for name in names)
    return start + "x" + "".join(f"</s_{name}>" for name in reversed(names))


def test_depth_is_limited_both_ways():
    data = token2json(nested(LEVELS))
    assert json2token(data)[0] == nested(LEVELS)
    with pytest.raises(TokenError, match="more than 100 deep"):
        token2json(nested(LEVELS + 1))
    with pytest.raises(OptionError, match="at most 100 levels"):
        json2token({"more": data})


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"<s_{number}>" for number in range(2000)),
        "<s_a>" * 4000,
        "<s_" * 7000,
        "<" * 20000,
        "</s_a>" * 3000 + "<s_a>x</s_a>",
        "<s_a>x</s_a><sep/>" * 1000,
        "<s_a>" + "<sep/>" * 3000 + "</s_a>",
        nested(90, "</s_{}>"),
    ],
)
def test_hostile_texts_take_no_time(text):
    begun = time.process_time()
    json.dumps(token2json(text))
    answer_text(text)
    assert time.process_time() - begun < 2


def test_json_does_not_outgrow_its_text():
    """Each level would double the one inside it."""
    assert token2json(nested(3, "</s_{}><sep/>"))
    with pytest.raises(TokenError, match="outgrows its text"):
        token2json(nested(60, "</s_{}><sep/>"))


# --- prompts

BASE = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<sep/>", "<s_iitcdip>", "<s_synthdog>"]
DOCVQA = [*BASE, "<s_docvqa>", "<yes/>", "<no/>"]
DOCVQA += ["<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
CORD = [*BASE, "<s_cord-v2>", "<s_nm>", "</s_nm>", "<s_cnt>", "</s_cnt>"]


@pytest.mark.parametrize(
    ("tokens", "options", "prompt"),
    [
        (DOCVQA, {"question": "Who?"}, "<s_docvqa><s_question>Who?</s_question><s_answer>"),
        (CORD, {}, "<s_cord-v2>"),
        ([*BASE, "<s_rvlcdip>", "<s_class>", "</s_class>"], {}, "<s_rvlcdip>"),
        ([*BASE, "<s_zhtrainticket>"], {}, "<s_zhtrainticket>"),
        (["<s_mine>", "<s_a>", "</s_a>"], {}, "<s_mine>"),
        (BASE, {"task": "synthdog"}, "<s_synthdog>"),
        (CORD, {"task": "<s_iitcdip>"}, "<s_iitcdip>"),
        ([*CORD, "<s_two>"], {"task": "two"}, "<s_two>"),
    ],
)
def test_prompts(tokens, options, prompt):
    assert task_prompt(tokens, **options) == prompt


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (BASE, {}, "a task has to be chosen; .* are <s_iitcdip>, <s_synthdog>; give one"),
        ([*CORD, "<s_two>"], {}, "are <s_iitcdip>, <s_synthdog>, <s_cord-v2>, <s_two>;"),
        (["<s>", "<s_a>", "</s_a>"], {}, "task tokens are none;"),
        (CORD, {"task": "nm"}, "task is 'nm'; the tokenizer's task tokens are <s_iitcdip>"),
        ([f"<s_{n}>" for n in range(14)], {}, "<s_11> and 2 more"),
        (DOCVQA, {}, "<s_docvqa> answers questions, and there is none; give question"),
        (CORD, {"question": "Who?"}, "no field answer and question; fields are nm, cnt; leave"),
        (DOCVQA, {"question": "</s_question>?"}, "has the token </s_question> in it"),
    ],
)
def test_prompts_that_cannot_be(tokens, options, message):
    with pytest.raises(OptionError, match=message):
        task_prompt(tokens, **options)


def test_added_tokens_of_a_tokenizer():
    backend = Backend(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    backend.add_special_tokens(["<s_cord-v2>", "<s_nm>", "</s_nm>"])
    added = added_vocabulary(Tokenizer(backend.to_str().encode()))
    assert added == {"<s_cord-v2>": 2, "<s_nm>": 3, "</s_nm>": 4}
    assert (field_names(added), task_tokens(added)) == (["nm"], ["<s_cord-v2>"])


def test_answers():
    sequence = task_prompt(DOCVQA, "Who?") + " Ann</s_answer></s><pad><pad>"
    assert token2json(answer_text(sequence)) == {"question": "Who?", "answer": "Ann"}
    assert answer_text("<s_iitcdip> some text</s>") == "some text"
    assert answer_text("none [EOS]", eos_token="[EOS]") == "none"


# --- the grammar

V = 37
ADDED = dict(zip([*CORD, "</s_lone>", "<yes/>", "<s_CNT>", "</s_CNT>"], range(V), strict=False))
WORDS = {id: token for token, id in ADDED.items()}
EOS, PROMPT = ADDED["</s>"], [ADDED["</s>"], ADDED["<s_cord-v2>"]]


def drawn(process, prompt, length, rows, seed, dull=()):
    """Rows of ids drawn under a processor, until they end; `dull` ids are seldom drawn."""
    generator = np.random.default_rng(seed)
    tokens = np.array([prompt] * rows)
    while tokens.shape[1] < length:
        scores = generator.normal(size=(rows, V)).astype(np.float32)
        scores[:, list(dull)] -= 9
        picked = np.array(mx.argmax(process(mx.array(tokens), mx.array(scores)), axis=1))
        ended = (tokens[:, len(prompt) :] == EOS).any(axis=1)
        picked = np.where(ended, ADDED["<pad>"], picked)
        tokens = np.concatenate([tokens, picked[:, None]], axis=1)
    return tokens.tolist()


def top_fields(words, open_tags=()):
    """The fields on the lowest level; every tag has to close the innermost that is open."""
    stack, found = list(open_tags), []
    for word in words:
        if word.startswith("</s_"):
            assert stack.pop().lower() == word[4:-1].lower(), words
        elif word.startswith("<s_"):
            assert word[3:-1].lower() not in map(str.lower, stack), words
            found += [] if stack else [word[3:-1]]
            stack.append(word[3:-1])
        else:
            assert stack or word in ("<sep/>", "</s>"), words
    assert not stack, words
    return found


def words_of(row, prompt):
    """What was drawn, up to the end."""
    words = [WORDS.get(id, f"w{id}") for id in row[len(prompt) :]]
    return words[: words.index("</s>") + 1]


@pytest.mark.parametrize("length", [4, 5, 7, 30])
@pytest.mark.parametrize("dull", [(), [EOS], range(17, V)], ids=["any", "long", "tags"])
def test_drawn_rows_are_documents(length, dull):
    process = field_grammar(ADDED, [EOS], max_length=length)
    for row in drawn(process, PROMPT, length, 40, length, dull):
        words = words_of(row, PROMPT)
        fields = top_fields(words)
        data = token2json("".join(words[:-1]), ADDED)
        found = [key for item in (data if isinstance(data, list) else [data]) for key in item]
        assert sorted(set(found) - {"text_sequence"}) == sorted(set(fields)), words
        assert not {"<s_cord-v2>", "<s_iitcdip>", "<unk>", "<pad>", "</s_lone>"} & set(words)


def test_a_prompt_may_leave_a_field_open():
    prompt = [*PROMPT, ADDED["<s_nm>"]]
    for row in drawn(field_grammar(ADDED, [EOS], max_length=12), prompt, 12, 30, 0):
        top_fields(words_of(row, prompt), ["nm"])


@pytest.mark.parametrize("tags", [["</s_nm>", "</s_nm>"], ["<s_nm>", "</s_nm>"]])
def test_closed_and_stray_tags_of_a_prompt_do_not_count(tags):
    prompt = [*map(ADDED.get, tags), *PROMPT]
    for row in drawn(field_grammar(ADDED, [EOS], max_length=14), prompt, 14, 30, 1):
        top_fields(words_of(row, prompt))


def test_without_a_length_rows_may_go_on():
    tokens = mx.array([[*PROMPT, ADDED["<s_nm>"]]])
    allowed = field_grammar(ADDED, [EOS])(tokens, mx.zeros((1, V))) == 0
    banned = [WORDS[id] for id in range(V) if not allowed[0, id].item()]
    expected = set(BASE) - {"<sep/>"} | {"<s_cord-v2>", "<s_nm>", "</s_cnt>", "</s_CNT>"}
    assert set(banned) == expected | {"</s_lone>"}


def test_rules_that_force_an_end_win():
    scores = mx.where(mx.arange(V) == EOS, 0.0, -mx.inf)[None]
    tokens = mx.array([[*PROMPT, ADDED["<s_nm>"]]])
    assert field_grammar(ADDED, [EOS])(tokens, scores).tolist() == scores.tolist()


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_under_the_grammar(beams):
    model = tiny_model()
    options = {"max_length": 16, "num_beams": beams, "eos_token_id": EOS, "pad_token_id": 1}
    process = field_grammar(ADDED, [EOS], max_length=16)
    prompt = mx.array([PROMPT] * 2)
    rows = model.generate(pixels(), decoder_input_ids=prompt, logits_processor=[process], **options)
    for row in rows.tolist():
        top_fields(words_of(row, PROMPT))


def test_a_grammar_needs_fields_of_its_vocabulary():
    with pytest.raises(OptionError, match="of 8 added tokens none are a field's"):
        field_grammar(dict(zip(BASE, range(8), strict=True)), [EOS])
    with pytest.raises(TokenError, match=r"the model has not: \[12, 13, 14, 15, 16\]; expected"):
        field_grammar(ADDED, [EOS])(mx.array([PROMPT]), mx.zeros((1, 12)))
