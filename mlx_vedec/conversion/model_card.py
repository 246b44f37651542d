"""Model cards: the README.md of a folder, by whose front matter the Hub files a model.

A card that this package wrote carries a mark and is written anew each time. One that somebody else
wrote is kept; its front matter gains the keys that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.hub import HUB_ID
from ..errors import CheckpointError, OptionError, check_type
from ..files import write_file
from ..version import __version__
from . import front_matter

README = "README.md"
MARK = "<!-- mlx_vedec writes this page anew; delete this line to keep what you change in it -->"
KEPT = ("license", "license_name", "license_link", "language", "datasets")  # of a model's source
BASE = ("base_model", "base_model_relation", "base_model_revision")  # the last is our own
RELATIONS = ("quantized", "finetune", "adapter", "merge")
TAGS = ("mlx", "mlx-vedec", "vision-encoder-decoder", "image-to-text")
FOREIGN_TAGS = {"jax", "onnx", "pytorch", "safetensors", "tf", "tflite", "transformers"}
Values = dict[str, Any]
LookUp = Callable[[str, str | None], Values]


@dataclass(frozen=True)
class Origin:
    """What a model was made from, as the caller of `upload` gives it.

    base_model -- the Hub id of the model that it was made from. relation -- how, in the Hub's
    words: quantized, which takes in the same weights in another type, finetune, adapter or merge.
    license -- by the Hub's short name, such as mit.
    """

    base_model: str | None = None
    relation: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        for name in ("base_model", "relation", "license"):
            check_type(name, getattr(self, name), (str, type(None)), "a text, or None")
        if self.base_model is not None and not HUB_ID.fullmatch(self.base_model):
            raise OptionError(f"base_model is {self.base_model!r}; expected a Hub id, owner/name")
        if self.relation is not None and self.relation not in RELATIONS:
            raise OptionError(
                f"the relation to the base model is {self.relation!r}; expected one of "
                f"{', '.join(RELATIONS)}"
            )

    @property
    def values(self) -> Values:
        """What was given, by its keys in front matter."""
        named = dict(zip(BASE, (self.base_model, self.relation), strict=False))
        return {k: v for k, v in {**named, "license": self.license}.items() if v is not None}


@dataclass(frozen=True)
class FolderCard:
    """A folder's README.md: its front matter's values, and all of its text.

    ours -- it carries the mark, or there is no README.md.
    """

    values: Values
    text: str
    ours: bool

    @classmethod
    def read(cls, folder: Path) -> FolderCard:
        """Read a folder's README.md, which may be absent."""
        path = folder / README
        if not path.is_file():
            return cls({}, "", True)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path} is not UTF-8 text; mend or delete it") from error
        return cls(front_matter.split(text, str(path))[0], text, MARK in text)


def kept(values: Mapping[str, Any]) -> Values:
    """What of a model's front matter is true of another that is made from it."""
    tags = [tag for tag in _tags(values) if tag not in FOREIGN_TAGS]
    return {**{k: values[k] for k in KEPT if values.get(k)}, **({"tags": tags} if tags else {})}


def _tags(values: Mapping[str, Any]) -> list[str]:
    tags = values.get("tags")
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def leave(folder: Path, source: Path, given: str | Path, *, tuned: bool = False) -> None:
    """Write a first card into a new folder: the model's base, licence, languages and tags.

    They are what the card of the source says, the folder that the new one was made from, and the
    Hub id that was given for it. Where both say nothing, no card is written. given -- that id, or
    the source's path. tuned -- the weights were trained, and not only stored otherwise.
    """
    try:
        said = FolderCard.read(source).values
    except CheckpointError:  # of others, and not what was asked for
        said = {}
    values = kept(said)
    if Path(given).expanduser().is_dir():
        values.update({key: said[key] for key in BASE if key in said})
    else:
        values.update(zip(BASE, (str(given), "quantized", source.name), strict=True))
    if tuned and "base_model" in values:
        values["base_model_relation"] = "finetune"
    if values:
        text = f"{MARK}\n\nMade by mlx_vedec {__version__}; `mlx_vedec upload` says more here.\n"
        write(folder, front_matter.joined(values, text))


def completed(
    card: FolderCard,
    origin: Origin,
    relation: str,
    tags: Iterable[str] = (),
    look_up: LookUp | None = None,
) -> Values:
    """The front matter that a folder's card is to have.

    It is that of the card as it is, what the caller gave, and what follows from the weights:
    relation -- to the base model, where neither of the first two names one -- and tags. look_up --
    gives the front matter of a base model by its id and commit; it is asked where no licence is
    known.
    """
    values, given = card.values, origin.values
    if not card.ours:
        _refuse_conflicts(values, given)
    if given.get("base_model", values.get("base_model")) != values.get("base_model"):
        values = _without(values, *BASE)
    values = {**values, **given}
    base = values.get("base_model")
    if look_up and isinstance(base, str) and HUB_ID.fullmatch(base) and "license" not in values:
        values = {**kept(look_up(base, values.get("base_model_revision"))), **values}
    values = {"library_name": "mlx", "pipeline_tag": "image-to-text", **values}
    values["tags"] = list(dict.fromkeys([*TAGS, *tags, *_tags(values)]))
    if not base:
        return _without(values, *BASE)
    relation = "merge" if isinstance(base, list) and len(base) > 1 else relation
    return {**values, "base_model_relation": values.get("base_model_relation", relation)}


def page(card: FolderCard, values: Values, text: str) -> str:
    """The text of README.md as it is to be, of a card with these values of front matter.

    text -- the page below it, where this package writes it.
    """
    if card.ours:
        return front_matter.joined(values, f"{MARK}\n\n{text}")
    return front_matter.completed(card.text, _without(values, *card.values))


def write(folder: Path, content: str) -> None:
    """Write a folder's README.md; the file appears whole."""
    data = content.encode()
    write_file(folder / README, lambda temporary: temporary.write_bytes(data))


def _refuse_conflicts(values: Values, given: Values) -> None:
    for key in given:
        if values.get(key, given[key]) != given[key]:
            raise OptionError(
                f"{key} is given as {given[key]}, but {README} says {values[key]}; change the "
                "file, or leave the option out"
            )


def _without(values: Values, *keys: str) -> Values:
    return {key: value for key, value in values.items() if key not in keys}
