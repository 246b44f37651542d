"""What Donut is asked with, told by the tokens that were added to its tokenizer.

`<s_key>` with `</s_key>` is a field, and `<s_…>` that nothing closes names a task, with which every
answer begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import OptionError, listed

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer

PRETRAINING = ("<s_iitcdip>", "<s_synthdog>")  # donut-base's, which every fine-tune keeps
QUESTION, ANSWER = "question", "answer"
ASKED = "<s_docvqa>"  # the task that needs a question

# A line's first tag, searched from the line's start so that many < in it take linear time.
FIRST_TAG = re.compile(r"^([^<\n]*)<[^>\n]*>", re.MULTILINE)


def added_vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """The tokens that were added to a tokenizer's vocabulary, tags and tasks among them."""
    added = tokenizer.backend.get_added_tokens_decoder()
    return {token.content: id for id, token in sorted(added.items())}


def field_names(added_vocab: Iterable[str]) -> list[str]:
    """The names of the fields that have both tags.

    >>> field_names(["<s_cord-v2>", "<s_nm>", "</s_nm>", "<sep/>"])
    ['nm']
    """
    tokens = dict.fromkeys(added_vocab)
    return [name for name in map(_opened, tokens) if name and f"</s_{name}>" in tokens]


def task_tokens(added_vocab: Iterable[str]) -> list[str]:
    """The tokens that name tasks: `<s_…>` that nothing closes.

    >>> task_tokens(["<s_cord-v2>", "<s_nm>", "</s_nm>", "<sep/>"])
    ['<s_cord-v2>']
    """
    tokens = dict.fromkeys(added_vocab)
    return [t for t in tokens if (name := _opened(t)) and f"</s_{name}>" not in tokens]


def _opened(token: str) -> str:
    """The name in `<s_name>`, or nothing."""
    return token[3:-1] if token.startswith("<s_") and token.endswith(">") else ""


def task_prompt(
    added_vocab: Iterable[str], question: str | None = None, *, task: str | None = None
) -> str:
    """What a checkpoint's answer begins with: its task, and the question where it takes one.

    added_vocab -- the tokens of `added_vocabulary`. task -- "cord-v2" or "<s_cord-v2>", where the
    tokens name more tasks than one; those of the pre-training count only where there is no other.

    >>> task_prompt(["<s_iitcdip>", "<s_synthdog>", "<s_cord-v2>", "<s_nm>", "</s_nm>"])
    '<s_cord-v2>'
    >>> tokens = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
    >>> task_prompt(tokens, "Who signed?")
    '<s_docvqa><s_question>Who signed?</s_question><s_answer>'
    """
    tokens = list(added_vocab)
    start = _task(task_tokens(tokens), task)
    if question is None:
        if start == ASKED:
            raise OptionError(f"{start} answers questions, and there is none; give question")
        return start
    missing = {QUESTION, ANSWER}.difference(field_names(tokens))
    if missing:
        raise OptionError(
            f"a question is given, but the tokens have no field {' and '.join(sorted(missing))}; "
            f"fields are {listed(field_names(tokens)) or 'none'}; leave question out"
        )
    inside = [token for token in tokens if token.startswith("<") and token in question]
    if inside:
        raise OptionError(f"the question has the token {inside[0]} in it; expected text; reword it")
    return f"{start}<s_{QUESTION}>{question}</s_{QUESTION}><s_{ANSWER}>"


def _task(candidates: list[str], task: str | None) -> str:
    """The one task token that is meant."""
    own = [token for token in candidates if token not in PRETRAINING] or candidates
    if task is not None:
        own = [token for token in candidates if token in (task, f"<s_{task}>")]
    if len(own) == 1:
        return own[0]
    wanted = "a task has to be chosen" if task is None else f"task is {task!r}"
    raise OptionError(
        f"{wanted}; the tokenizer's task tokens are {listed(candidates) or 'none'}; give one of "
        "them as task, or a prompt of your own"
    )


def answer_text(sequence: str, eos_token: str = "</s>", pad_token: str = "<pad>") -> str:
    """What a sequence, its prompt included and its tags kept, says after the task token.

    >>> answer_text("<s_cord-v2><s_nm>Tea</s_nm></s><pad>")
    '<s_nm>Tea</s_nm>'
    """
    text = sequence.replace(eos_token, "").replace(pad_token, "")
    return FIRST_TAG.sub(r"\1", text, count=1).strip()
