"""Reading Donut's tags against transformers, on well-formed texts and on any others."""

from __future__ import annotations

import random
import re

import pytest

pytest.importorskip("transformers")

from transformers.models.donut.processing_donut import DonutProcessor  # noqa: E402

from mlx_vedec.tasks.donut import json2token, token2json  # noqa: E402
from mlx_vedec.tasks.donut_prompts import answer_text  # noqa: E402

ADDED = {"<yes/>": 1, "<no/>": 2, "<a b/>": 3, "<sep/>": 4, "</>": 5, "<s_x/>": 6}
KEYS = ["a", "b", "nm", "A", "sub.x", "c+(", "[d", "\\w", "k-ß", "ſ", "x y", ".*", "é", "İ", "/a"]
PIECES = ["<sep/>", "<yes/>", "<no/>", "<a b/>", "</>", "<x/>", " ", "\n", "text", "a<b", ">", "é"]
TORN = ["<s_", "</s_", "<S_", "<ſ_", "<s_>", "</s_>", "<s_a", "s_a>", "<sep/", "<s_x/>", "<s>"]


def theirs(text):
    """Of a processor with no parts: it needs none where the added tokens are given."""
    return DonutProcessor.__new__(DonutProcessor).token2json(text, added_vocab=ADDED)


def tags(key, chance):
    """Both tags of a field, the end tag at times in other letters."""
    end = f"</s_{key}>"
    return f"<s_{key}>", chance.choice([end, end, end, end.upper(), end.lower(), end.swapcase()])


def document(chance, depth=0):
    """A text that is well-formed but for keys inside themselves."""
    parts = []
    for _ in range(chance.randint(1, 3)):
        begin, end = tags(chance.choice(KEYS), chance)
        if depth < 4 and chance.random() < 0.5:
            items = [document(chance, depth + 1) for _ in range(chance.randint(1, 3))]
        else:
            items = [chance.choice(PIECES[1:]) for _ in range(chance.randint(0, 3))]
        parts.append(begin + "<sep/>".join(items) + end + chance.choice(["", "", " ", "\n"]))
    return "".join(parts)


def soup(chance):
    """Tags and texts in any order."""
    keys = chance.sample(KEYS, 3)
    choices = [*PIECES, *TORN, *[tag for key in keys for tag in tags(key, chance)] * 4]
    return "".join(chance.choices(choices, k=chance.randint(0, 14)))


def torn(chance):
    """A document from which pieces are missing, or stand twice."""
    text = document(chance)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        stop = start + chance.randint(0, 8)
        text = text[:start] + text[start:stop] * chance.choice([0, 2]) + text[stop:]
    return text


def lined(value):
    """With the order of the keys, which == does not look at."""
    return repr(value)


@pytest.mark.parametrize("make", [document, soup, torn])
def test_token2json(make):
    chance = random.Random(make.__name__)
    for _ in range(800):
        text = make(chance)
        assert lined(token2json(text, ADDED)) == lined(theirs(text)), text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "plain text ",
        "<s_a>",
        "</s_a>",
        "<s_a></s_a>",
        "<s_a>x</S_A>",
        "</s_a><s_a>x</s_a>",
        "</s_a><sep/><s_a><s_b>x</s_b></s_a>",
        "</s_a></s_a><sep/></s_a><s_a><s_b>x</s_b></s_a>",
        "<s_a><s_a>x</s_a></s_a>",
        "<s_a>1</s_a><s_a>2</s_a>",
        "<s_a>1</s_a><sep/>",
        "<s_a>1</s_a><sep/><sep/><s_a>2</s_a>",
        "<sep/><s_a>1</s_a>",
        "<s_a><s_b></s_c></s_a>",
        "<s_a> <s_b> 1 </s_b> <sep/> <s_b>2</s_b> </s_a>",
        "<s_a>1<sep/>2</s_a><s_c><sep/></s_c>",
        "<s_a><yes/></s_a><s_b><maybe/><sep/> <no/> </s_b>",
        "<s_a\n>x</s_a\n>",
        "<s_u>x<s_a>1</s_a>",
    ],
)
def test_token2json_of_odd_texts(text):
    assert lined(token2json(text, ADDED)) == lined(theirs(text))


def test_what_is_written_is_read_alike():
    chance = random.Random(0)
    for _ in range(300):
        data = token2json(document(chance), ADDED)
        try:
            text, _ = json2token(data, added_vocab=ADDED)
        except ValueError:
            continue  # a key inside itself
        assert lined(token2json(text, ADDED)) == lined(theirs(text))


def test_answers_are_those_of_the_model_card():
    chance = random.Random(1)
    for _ in range(1000):
        text = "".join(chance.choices([*PIECES, *TORN, "</s>", "<pad>"], k=chance.randint(0, 6)))
        card = text.replace("</s>", "").replace("<pad>", "")
        assert answer_text(text) == re.sub("<.*?>", "", card, count=1).strip()
