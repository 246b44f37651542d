"""How far texts are from what they should be: error rates, exact match, ANLS.

Every metric is a ratio of two sums over the samples: a sample gives a `Share`, such as its edits
and the characters of its reference. Lower is better for those in `ERRORS`, higher for the rest.
Texts are compared as `Normalization` leaves them, which changes nothing by default.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import MetricError, nearest, shown

FORMS = ("NFC", "NFKC")


# --- texts as they are compared


@dataclass(frozen=True)
class Normalization:
    """What is the same in two texts that are compared.

    unicode             -- a normal form, "NFC" or "NFKC" (UAX #15)
    lowercase           -- upper and lower case, by Unicode's case folding: ß is ss
    ignore_punctuation  -- characters of the categories P…, which go; $ and + are symbols and stay
    collapse_whitespace -- any run of white space, which becomes one space; at the ends it goes

    >>> Normalization(lowercase=True, ignore_punctuation=True)("No. 5, Main St.")
    'no 5 main st'
    """

    unicode: str | None = None
    lowercase: bool = False
    ignore_punctuation: bool = False
    collapse_whitespace: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.unicode, str | None) or self.unicode not in (None, *FORMS):
            found = repr(self.unicode)[:80]
            raise MetricError(f"unicode is {found}; expected {' or '.join(FORMS)}")

    def __call__(self, text: str) -> str:
        """The text, without what does not count in a comparison."""
        text = self._composed(text)
        if self.lowercase:
            text = self._composed(text.casefold())
        if self.ignore_punctuation:
            text = "".join(c for c in text if not unicodedata.category(c).startswith("P"))
        return " ".join(text.split()) if self.collapse_whitespace else text

    def _composed(self, text: str) -> str:
        return unicodedata.normalize(self.unicode, text) if self.unicode else text  # pyright: ignore[reportArgumentType]


AS_IS = Normalization()


# --- one sample


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and substitutions that make b of a (Levenshtein 1966).

    A column of the table at a time, as bits of one integer: Myers 1999 as Hyyrö 2003 has it.

    >>> edit_distance("kitten", "sitting"), edit_distance(["the", "cat"], ["the", "hat"])
    (3, 1)
    """
    if not a:
        return len(b)
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    places: dict[Hashable, int] = {}  # of each item in a, as bits
    for place, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << place
    distance, up, down = len(a), full, 0  # where the column rises and falls by 1
    for item in b:
        same = places.get(item, 0)
        diagonal = (((same & up) + up) ^ up) | same | down
        right, left = down | ~(diagonal | up), diagonal & up  # where the row rises and falls
        distance += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        up = (left << 1 | ~(diagonal | right)) & full
        down = right & diagonal & full
    return distance


class Share(NamedTuple):
    """What a sample adds to a metric: the metric is the sum of parts over the sum of wholes."""

    part: float
    whole: float

    @property
    def ratio(self) -> float:
        """The metric of this sample alone; where the whole is 0, 1 for any part, and 0 for none."""
        return self.part / self.whole if self.whole else float(self.part > 0)


def characters(prediction: str, reference: str) -> Share:
    """Edits of characters, and the characters (code points) of the reference."""
    return Share(edit_distance(prediction, reference), len(reference))


def words(prediction: str, reference: str) -> Share:
    """Edits of words, and the words of the reference; words are what white space separates."""
    found, wanted = prediction.split(), reference.split()
    return Share(edit_distance(found, wanted), len(wanted))


def similarity(prediction: str, reference: str) -> float:
    """1 - edits / length of the longer, 0 to 1; 1 where both are empty."""
    longer = max(len(prediction), len(reference))
    return 1 - edit_distance(prediction, reference) / longer if longer else 1.0


def anls(prediction: str, reference: str) -> float:
    """Normalized Levenshtein similarity (arXiv:1907.00490): `similarity`, 0 unless above a half."""
    found = similarity(prediction, reference)
    return found if found > 0.5 else 0.0


SHARES: dict[str, Callable[[str, str], Share]] = {
    "cer": characters,
    "wer": words,
    "mean_cer": lambda p, r: Share(characters(p, r).ratio, 1),
    "mean_wer": lambda p, r: Share(words(p, r).ratio, 1),
    "exact_match": lambda p, r: Share(float(p == r), 1),
    "similarity": lambda p, r: Share(similarity(p, r), 1),
    "anls": lambda p, r: Share(anls(p, r), 1),
}
ERRORS = ("cer", "wer", "mean_cer", "mean_wer")  # lower is better


# --- many samples


def character_error_rate(
    predictions: Sequence[str], references: Sequence[str], *, normalization: Normalization = AS_IS
) -> float:
    """CER: the sum of all edits over the sum of all references' characters; it may pass 1.

    A reference without characters adds its prediction's as edits; where no reference has any, that
    is a `MetricError`.

    >>> character_error_rate(["kitten", "cat"], ["sitting", "cat"])
    0.3
    """
    return metric("cer", predictions, references, normalization=normalization)


def word_error_rate(
    predictions: Sequence[str], references: Sequence[str], *, normalization: Normalization = AS_IS
) -> float:
    """WER: the sum of all edits of words over the sum of all references' words; it may pass 1.

    >>> word_error_rate(["the hat"], ["the cat sat"])
    0.6666666666666666
    """
    return metric("wer", predictions, references, normalization=normalization)


def metric(
    name: str,
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    normalization: Normalization = AS_IS,
) -> float:
    """The metric of many samples, by its name in `SHARES`.

    cer, wer -- `character_error_rate`, `word_error_rate`. mean_cer, mean_wer -- the mean of the
    samples' own rates, of which one with an empty reference is 0 for an empty prediction and 1 for
    any other. exact_match -- share of predictions that are the reference. similarity -- mean of
    1 - edits / length of the longer. anls -- mean of `anls`.

    >>> metric("similarity", ["abcd", ""], ["abce", ""])
    0.875
    """
    check_names([name], SHARES)
    check_lengths(predictions, references)
    wrong = [text for text in (*predictions, *references) if not isinstance(text, str)]
    if wrong:
        raise MetricError(f"a text is {repr(wrong[0])[:80]}; expected a string")
    if not callable(normalization):
        raise MetricError(f"normalization is {repr(normalization)[:80]}; expected a Normalization")
    pairs = zip(
        _normalized(normalization, predictions), _normalized(normalization, references), strict=True
    )
    return total(name, [SHARES[name](*pair) for pair in pairs])


def _normalized(normalization: Callable[[str], str], texts: Iterable[str]) -> list[str]:
    try:
        found = [normalization(text) for text in texts]
    except Exception as error:  # of the caller's function
        raise MetricError(f"normalization failed ({error}); expected a Normalization") from error
    if wrong := [text for text in found if not isinstance(text, str)]:
        raise MetricError(f"normalization gave {shown(wrong[0])}; expected a text")
    return found


def total(name: str, shares: Iterable[Share]) -> float:
    """A metric from what each sample adds: the sum of the parts over the sum of the wholes."""
    parts, wholes = (sum(column) for column in zip(*shares, strict=True))
    if not wholes:
        raise MetricError(
            f"{name} is a share of what the references have, and all of them are empty; give some "
            "that are not, or use exact_match"
        )
    return parts / wholes


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that no metric has, with the closest one that is."""
    known = list(known)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise MetricError(f"{repr(name)[:80]} is not a metric; {nearest(str(name), known)}")


def check_lengths(predictions: Sequence[object], references: Sequence[object]) -> None:
    """Refuse what cannot be compared: no texts, or other than one reference per prediction."""
    lists = (predictions, references)
    if not all(isinstance(one, Sized) and not isinstance(one, str | bytes) for one in lists):
        found = "one text" if isinstance(predictions, str) else repr(predictions)[:80]
        raise MetricError(f"got {found}; expected a list of predictions and one of references")
    if len(predictions) != len(references):
        raise MetricError(
            f"there are {len(predictions)} predictions and {len(references)} references; "
            "expected as many; give each prediction its reference"
        )
    if not len(references):
        raise MetricError("there are no references to compare with; give one or more")
