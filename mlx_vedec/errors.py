"""The library's errors: each says what was got, what was expected and what to do."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path

MOST_KNOWN = 100  # names that are told of
LONGEST = 4000  # characters of a message: some fifty lines
LONG_WORD = re.compile(r"\S{400,}")


def nearest(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """What an error says after a name that is not known: the closest one that is.

    otherwise -- what to say where none is close; by default which ones are known

    >>> nearest("trian", ["train", "test"]), nearest("x", ["train", "test"])
    ('did you mean train?', 'known are train, test')
    """
    from difflib import get_close_matches  # which costs an import of the library otherwise

    names = [*known]
    close = get_close_matches(str(name)[:200], names, n=1)
    if close:
        return f"did you mean {close[0][:200]}?"
    return f"known are {listed(names, MOST_KNOWN)}" if otherwise is None else otherwise


def listed(names: Iterable[object], most: int = 12) -> str:
    """The first names, each cut, and how many more there are.

    >>> listed("abcd", 3)
    'a, b, c and 1 more'
    """
    said = [str(name)[:200] for name in names]
    return ", ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")


def counted(count: int, thing: str) -> str:
    """A count with the word for what is counted.

    >>> counted(1, "line"), counted(2, "line")
    ('1 line', '2 lines')
    """
    return f"{count} {thing}{'s' * (count != 1)}"


class Error(ValueError):
    """Base of the library's errors; long words of a message, and a long message, are cut short."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text of no more than so many characters: of long words, and of it, beginning and end."""
    if len(text) > longest:
        text = LONG_WORD.sub(lambda word: _without_middle(word[0], 300), text)
    return _without_middle(text, longest)


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    left_out = f" … {len(text) - longest} characters … "
    end = longest // 4
    return text[: longest - end - len(left_out)] + left_out + text[-end:]


class ConfigError(Error):
    """A configuration that is unreadable, unknown or contradicts itself."""


class CheckpointError(Error):
    """A checkpoint folder without a file it needs, or an identifier that leads to none."""


class WeightsError(Error):
    """Tensors that are missing, left over, misshapen or cut short."""


class ImageError(Error):
    """An image that cannot be read, or that is not what the model was built for."""


class TokenError(Error):
    """Token ids outside the vocabulary, or more of them than there are positions."""


class OptionError(Error):
    """Generation options that are unknown, out of range or contradict each other."""


class MetricError(Error):
    """Texts that cannot be compared, or metrics that are unknown."""


class TrainingError(Error):
    """A training that cannot be done as asked, cannot be resumed, or that went wrong."""


class ProcessError(Error):
    """A computation in a process or a thread where none can be, or that failed in another one."""


class DataError(Error):
    """Training data that is missing, ambiguous or unreadable, by file and line."""


class LayoutError(Error):
    """A page's layout that is unreadable, unsafe, or of another page."""


def shown(value: object) -> str:
    """A value for a message, in bounded length; of what is no text or number, the type.

    >>> shown("a" * 99), shown(5), shown([])
    ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", '5', 'a list')
    """
    plain = isinstance(value, (str, float, bool)) or value is None
    if plain or (isinstance(value, int) and abs(value) < 10**30):
        return ascii(value)[:60]
    return f"a {type(value).__name__}"


def spelt(value: object, most: int = 80) -> str:
    """How Python spells a value, in bounded length; its type, where it has no spelling.

    >>> spelt([1, 2]), spelt(10**5000)
    ('[1, 2]', 'a int')
    """
    try:
        return repr(value)[:most]
    except Exception:  # of nests without end, of numbers too long, of objects whose own fails
        return f"a {type(value).__name__}"


def as_path(value: object, name: str, error: type[Error] | None = None) -> Path:
    """A path that a caller gave, `~` spelled out; an error for what is none.

    error -- its class, by default `OptionError`
    """
    kind = error or OptionError
    if not isinstance(value, (str, os.PathLike)):
        raise kind(f"{name} is {shown(value)}; expected a path")
    path = Path(value).expanduser()
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # what opens it says so, if it has to be there
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise kind(f"{name} is {shown(str(value))}; expected a path ({reason})") from problem
    return path


def check_type(
    name: str, value: object, kinds: type | tuple[type, ...], expected: str | None = None
) -> None:
    """Raise `OptionError` for an argument that is of none of these types."""
    if not isinstance(value, kinds):
        several = kinds if isinstance(kinds, tuple) else (kinds,)
        expected = expected or f"a {' or '.join(kind.__name__ for kind in several)}"
        raise OptionError(f"{name} is {shown(value)}; expected {expected}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raise `OptionError` for an argument that is no whole number, or below the least."""
    try:
        fits = not isinstance(value, bool) and operator.index(value) >= least  # pyright: ignore
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise OptionError(f"{name} is {shown(value)}; expected a whole number, at least {least}")


def check_function(name: str, value: object) -> None:
    """Raise `OptionError` for an argument that is neither a function nor None."""
    if value is not None and not callable(value):
        raise OptionError(f"{name} is {shown(value)}; expected a function, or None")
