"""The library's errors: each says what was got, what was expected and what to do."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """What an error says after a name that is not known: the closest one that is, or all."""
    from difflib import get_close_matches  # which costs an import of the library otherwise

    known = [*known]
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"


class ConfigError(ValueError):
    """A configuration that is unreadable, unknown or contradicts itself."""


class CheckpointError(ValueError):
    """A checkpoint folder without a file it needs, or an identifier that leads to none."""


class WeightsError(ValueError):
    """Tensors that are missing, left over, misshapen or cut short."""


class ImageError(ValueError):
    """An image that cannot be read, or that is not what the model was built for."""


class TokenError(ValueError):
    """Token ids outside the vocabulary, or more of them than there are positions."""


class OptionError(ValueError):
    """Generation options that are unknown, out of range or contradict each other."""


class MetricError(ValueError):
    """Texts that cannot be compared, or metrics that are unknown."""


class TrainingError(ValueError):
    """A training that cannot be done as asked, cannot be resumed, or that went wrong."""


class ProcessError(ValueError):
    """A computation in a process or a thread where none can be, or that failed in another one."""


class DataError(ValueError):
    """Training data that is missing, ambiguous or unreadable, by file and line."""


class LayoutError(ValueError):
    """A page's layout that is unreadable, unsafe, or of another page."""
