"""The library's errors: each says what was got, what was expected and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MOST_NAMES = 5000  # of a folder, that a name is compared with
LONGEST = 4000  # characters of a message: some fifty lines
LONG_WORD = re.compile(r"\S{400,}")


def nearest(name: str, known: Iterable[str]) -> str:
    """What an error says after a name that is not known: the closest one that is, or all."""
    from difflib import get_close_matches  # which costs an import of the library otherwise

    known = [*known]
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


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


def meant(name: object, known: Iterable[str]) -> str:
    """`; did you mean …?` with the known name that one resembles; nothing where none does.

    >>> meant("trian", ["train", "test"])
    '; did you mean train?'
    """
    import difflib  # which starts slowly, and few calls need it

    close = difflib.get_close_matches(str(name)[:200], [*known], n=1)
    return f"; did you mean {close[0][:200]}?" if close else ""


def meant_beside(path: Path) -> str:
    """`meant` among the names in a path's folder, of which the first few thousand are looked at."""
    try:
        with os.scandir(path.parent) as entries:
            return meant(path.name, [entry.name for entry in islice(entries, MOST_NAMES)])
    except (OSError, ValueError):
        return ""
