"""Model cards: the README.md of a folder, by which the Hub files a model.

A card of ours carries a mark and is written anew each time; of anybody else's, only the front
matter is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.hub import HUB_ID
from ..errors import CheckpointError, OptionError
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
    """What a model was made from, where the folder does not say it or is to say otherwise.

    base_model -- a Hub id. relation -- to it, as the Hub calls it: quantized, which takes in the
    same weights in another type, finetune, adapter or merge. license -- by the Hub's short name.
    """

    base_model: str | None = None
    relation: str | None = None
    license: str | None = None

    def __post_init__(self) -> None:
        if self.base_model is not None and not HUB_ID.fullmatch(self.base_model):
            raise OptionError(f"base_model is {self.base_model!r}; expected a Hub id, owner/name")
        if self.relation is not None and self.relation not in RELATIONS:
            raise OptionError(
                f"the relation to the base model is {self.relation!r}; expected one of "
                f"{', '.join(RELATIONS)}"
            )

    @property
    def values(self) -> Values:
        """Those that are given, by their names in front matter."""
        named = dict(zip(BASE, (self.base_model, self.relation), strict=False))
        return {k: v for k, v in {**named, "license": self.license}.items() if v is not None}


@dataclass(frozen=True)
class Card:
    """A folder's README.md as it is; `ours` where it carries the mark, or there is none."""

    values: Values
    text: str
    ours: bool

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Read it, or what stands for it where there is none."""
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
    """Of a source's front matter, what is true of a model made from it."""
    tags = values.get("tags")
    own = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    tags = [tag for tag in own if tag not in FOREIGN_TAGS]
    return {**{k: values[k] for k in KEPT if values.get(k)}, **({"tags": tags} if tags else {})}


def leave(folder: Path, source: Path, given: str | Path, *, tuned: bool = False) -> None:
    """Leave a card in a folder that was made from `source`, which the Hub id or path `given` named.

    It says what the source's card and id do: the model's base, licence and language. Where they
    say nothing, none is left. tuned -- the weights were trained, not only written otherwise.
    """
    try:
        said = Card.read(source).values
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
    card: Card, origin: Origin, kind: str, tags: Iterable[str] = (), look_up: LookUp | None = None
) -> Values:
    """The front matter of a folder's card: what is there, what is given, and what is known.

    kind -- the relation to the base model where nobody names one. look_up -- a base model's front
    matter, by its id and commit; asked where no licence is known.
    """
    given = origin.values
    if not card.ours:
        _refuse_conflicts(card.values, given)
    other = "base_model" in given and given["base_model"] != card.values.get("base_model")
    values = {**(_without(card.values, *BASE) if other else card.values), **given}
    base, own = values.get("base_model"), values.get("tags")
    if look_up and isinstance(base, str) and HUB_ID.fullmatch(base) and "license" not in values:
        values = {**kept(look_up(base, values.get("base_model_revision"))), **values}
        own = values["tags"] if own is None and "tags" in values else own
    own = own if isinstance(own, list) else []
    values = {"library_name": "mlx", "pipeline_tag": "image-to-text", **values}
    values["tags"] = list(dict.fromkeys([*TAGS, *tags, *own]))
    if not base:
        return _without(values, *BASE)
    relation = "merge" if isinstance(base, list) and len(base) > 1 else kind
    return {**values, "base_model_relation": values.get("base_model_relation", relation)}


def page(card: Card, values: Values, text: str) -> str:
    """The README.md to be: ours with this text, or another's with what its front matter lacks."""
    if card.ours:
        return front_matter.joined(values, f"{MARK}\n\n{text}")
    return front_matter.completed(card.text, _without(values, *card.values))


def write(folder: Path, content: str) -> None:
    """Put a card in its folder, as it is."""
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
