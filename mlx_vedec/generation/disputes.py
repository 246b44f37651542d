"""Token ids of which the files of a checkpoint say different things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoints.config import read_json
from ..errors import spelt
from .config import GenerationConfig
from .options import Options, start_token
from .values import listed

FILE = "generation_config.json"
ROLES = ("decoder_start_token_id", "eos_token_id", "pad_token_id")  # the start, the end, padding


class Dispute(NamedTuple):
    """An id that is used, and what places in the files have instead."""

    name: str
    used: Any
    others: dict[str, Any]

    def __str__(self) -> str:
        others = ", ".join(f"{_shown(value)} by {place}" for place, value in self.others.items())
        return f"{self.name} is {_shown(self.used)}, but {others}"


def places_of(folder: Path, config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What each place of a checkpoint's files has of options; config -- a parsed `config.json`."""
    path = folder / FILE
    decoder = config.get("decoder")
    return {
        FILE: read_json(path) if path.is_file() else {},
        "config.json": config,
        "config.json, decoder": decoder if isinstance(decoder, Mapping) else {},
    }


def ids_of(place: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The start, the end and padding that a place names.

    What a text begins with is the start of `generation_config.json`, where it has no other.
    """
    found = {name: values[name] for name in ROLES if values.get(name) is not None}
    if place == FILE and values.get("bos_token_id") is not None:
        found.setdefault("decoder_start_token_id", values["bos_token_id"])
    return found


def disputes(places: Mapping[str, Mapping[str, Any]], used: Mapping[str, Any]) -> list[Dispute]:
    """The ids of which some place says another thing than what is used; used -- by name."""
    found = []
    named = {place: ids_of(place, values) for place, values in places.items()}
    for name in ROLES:
        others = {
            place: ids[name]
            for place, ids in named.items()
            if name in ids and listed(ids[name]) != listed(used.get(name))
        }
        if others:
            found.append(Dispute(name, used.get(name), others))
    return found


def warning_of(found: Sequence[Dispute], options: Options) -> str:
    """What to say of those ids that are in force by some options; nothing where none is."""
    used = ids_in_force(options)
    said = [str(one) for one in found if listed(one.used) == listed(used[one.name])]
    if not said:
        return ""
    return (
        f"the files of the checkpoint differ: {'; '.join(said)}; the first are used; "
        "`mlx_vedec inspect MODEL --image LINE` reads an image under each"
    )


def ids_in_force(options: Options | GenerationConfig) -> dict[str, Any]:
    """The start, the ends and padding by `Options` or a `GenerationConfig`, by transformers' names.

    Several ends are a tuple, and so are several starts.
    """
    ends = options.eos_token_ids if isinstance(options, Options) else options.eos_token_id
    return {
        "decoder_start_token_id": start_token(options),
        "eos_token_id": ends,
        "pad_token_id": options.pad_token_id,
    }


def _shown(value: Any) -> str:
    return spelt(value, 40)
