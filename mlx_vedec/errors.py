"""The library's errors: each says what was got, what was expected and what to do."""

import re

LONGEST = 4000  # characters of a message: some fifty lines
LONG_WORD = re.compile(r"\S{400,}")


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
    """The error of another process, of those that evaluate or train together."""


class DataError(Error):
    """Training data that is missing, ambiguous or unreadable, by file and line."""


class LayoutError(Error):
    """A page's layout that is unreadable, unsafe, or of another page."""
