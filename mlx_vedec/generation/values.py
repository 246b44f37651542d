"""What an option is: the values that it may have, and what is said of it wherever it is met."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from itertools import chain
from typing import Any, NamedTuple

from ..errors import OptionError, spelt

MOST_INT, MOST_FLOAT = 2**31 - 1, 3.4e38  # of the types that arrays have


def is_int(value: Any) -> bool:
    """Whether a value is a whole number, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Whether a value is a number that a float32 can hold, which nan and infinity are not."""
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST_FLOAT
    )


def listed(value: Any) -> tuple[Any, ...]:
    """One item or several as a tuple; nothing where it is not set."""
    if value is None:
        return ()
    if isinstance(value, (str, int, float, Mapping)) or callable(value):
        return (value,)
    return tuple(value)


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    """Sequences of ids, each with its bias; an id alone is mlx-lm's form, as text that of JSON."""
    pairs = value.items() if isinstance(value, Mapping) else value
    return [
        ((int(word),) if is_int(word) or isinstance(word, str) else word, bias)
        for word, bias in pairs
    ]


def answer_of(name: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a caller's function answers; where it does not take what it is given, an error."""
    try:
        return function(*given)
    except TypeError as error:
        raise OptionError(f"{name} cannot be called: TypeError: {str(error)[:200]}") from error


class Value(NamedTuple):
    """A kind of value that options have.

    fits -- whether a value is of it; expected -- what is, in words. form -- one form for several
    that are taken. ids -- the token ids in that form. in_files -- whether JSON has such values.
    """

    fits: Callable[[Any], bool]
    expected: str
    form: Callable[[Any], Any] = lambda value: value
    ids: Callable[[Any], Iterable[int]] = lambda value: ()
    in_files: bool = True

    def check(self, name: str, value: Any, source: str = "") -> None:
        """Raise `OptionError` for a value of another kind; source -- where it stands."""
        try:
            fine = self.fits(value)
        except (TypeError, ValueError, KeyError, OverflowError, RecursionError):
            fine = False
        if not fine:
            raise OptionError(f"{name} is {spelt(value)}{source}; expected {self.expected}")


def at_least(low: int) -> Value:
    """The value of a generation option that is a whole number from `low` on."""
    return Value(
        lambda v: is_int(v) and low <= v <= MOST_INT,
        f"a whole number of at least {low}",
    )


def one_of(*values: int) -> Value:
    """The value of a generation option that is one of a few whole numbers."""
    *first, last = map(str, values)
    return Value(lambda v: is_int(v) and v in values, f"{', '.join(first)} or {last}")


def probability(above: float = -1, below: float = 2) -> Value:
    """The value of a generation option from 0 to 1; above=0 leaves out 0, below=1 leaves out 1."""
    low, high = ("above 0" if above == 0 else "from 0"), ("to below 1" if below == 1 else "to 1")
    return Value(
        lambda v: _is_number(v) and 0 <= v <= 1 and above < v < below, f"a number {low} {high}"
    )


def _is_id(value: Any) -> bool:
    return is_int(value) and abs(value) <= MOST_INT


def _are_ids(value: Any) -> bool:
    return all(map(_is_id, listed(value)))


def _words_fit(value: Any) -> bool:
    return all(not is_int(w) and len(w) and _are_ids(w) for w in value)


def _biases_fit(value: Any) -> bool:
    return all(
        len(w) and _are_ids(w) and (_is_number(b) or b == -math.inf) for w, b in _pairs(value)
    )


TRUTH = Value(lambda v: isinstance(v, bool), "True or False")
EXPONENT = Value(lambda v: _is_number(v) and abs(v) <= 50, "a number from -50 to 50")
POSITIVE = Value(lambda v: _is_number(v) and v > 0, "a number above 0", float)
SEEDS = 2**64  # MLX takes a seed below it
SEED = Value(lambda v: is_int(v) and 0 <= v < SEEDS, "a whole number from 0 to 2**64 - 1")
TEMPERATURE = Value(
    POSITIVE.fits, "a number above 0; pass do_sample=False, or temp=0, to decode greedily", float
)
TEMP = Value(lambda v: _is_number(v) and v >= 0, "a number of 0 (greedy) or more")
EARLY = Value(lambda v: v in (True, False, "never"), 'True, False or "never"')
REPETITION = Value(
    lambda v: isinstance(v, bool) or set(listed(v)) <= {"variance", "ngram"},
    'True, False, "variance" or "ngram"',
    lambda v: ("variance", "ngram") if v is True else listed(v or ()),
)
DECAY = Value(
    lambda v: len(v) == 2 and is_int(v[0]) and _is_number(v[1]) and v[1] > 0,
    "(start, factor): a whole number and a number above 0",
    tuple,
)
TEXTS = Value(
    lambda v: all(isinstance(s, str) and s for s in listed(v)), "a text, or a list of texts", listed
)
ID = Value(_is_id, "a token id", ids=listed)
IDS = Value(_are_ids, "token ids", listed, lambda v: v)
START = Value(_are_ids, "token ids", lambda v: v if is_int(v) else listed(v))
WORDS = Value(
    _words_fit,
    "a list of lists of token ids, none of them empty",
    lambda v: tuple(map(tuple, v)),
    chain.from_iterable,
)
BIASES = Value(
    _biases_fit,
    "ids or sequences of ids, each with a number",
    lambda v: tuple((tuple(word), float(bias)) for word, bias in _pairs(v)),
    lambda v: chain.from_iterable(word for word, _ in v),
)
FUNCTION = Value(callable, "a function", in_files=False)
FUNCTIONS = Value(
    lambda v: all(callable(f) for f in listed(v)),
    "a function, or a list of them",
    listed,
    in_files=False,
)
TOKENIZER = Value(lambda v: hasattr(v, "decode"), "a tokenizer", in_files=False)
CONFIG = Value(
    lambda v: isinstance(v, Mapping) or hasattr(v, "to_dict"),
    "a GenerationConfig, or a mapping of options",
    in_files=False,
)


class Option(NamedTuple):
    """What checks, `--help` and a checkpoint's file need to know of an option.

    help -- one sentence; unset -- what it is to have no value, where None is the default. name --
    in a call, where the settled field has another; alias -- mlx-lm's name. flag -- whether the
    command line has it, by the alias or else the name; short -- its letter there. draws -- whether
    it is idle where tokens are not drawn. default, type and settled -- those of the field that it
    was declared with, and its name.
    """

    value: Value
    help: str
    unset: str = ""
    name: str = ""
    alias: str = ""
    flag: bool = False
    short: str = ""
    draws: bool = False
    default: Any = None
    type: str = ""
    settled: str = ""


def option(value: Value, help: str, default: Any = None, **said: Any) -> Any:
    """A field of a dataclass that is an option; said -- other fields of `Option`."""
    own = Option(value, help, default=default, **said)
    return field(default=default, metadata={"option": own})
