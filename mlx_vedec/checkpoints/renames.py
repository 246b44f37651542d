"""Names on disk and names in memory, as data: a table that is read in both directions.

A table keeps each name that was looked up, so a model asks for each of its names once.

What a model was wrapped in when it was saved puts its own name before all names: `torch.compile`
has `_orig_mod.`, data parallelism `module.`, trainers `model.`, PEFT `base_model.model.`, and one
stands in another. Those are taken off first.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, ClassVar

import mlx.nn as nn

LOG = logging.getLogger("mlx_vedec")
Pairs = tuple[tuple[str, str], ...]
OLD_LEAVES = (  # TensorFlow's names, which checkpoints of BERT's time kept
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
)
# Of the words in a name those that no model has for a part of its own, wherever they stand.
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"}
PARTS = {"encoder", "decoder"}  # which are no wrappers
DEPTH = 5  # words of the longest prefix


@dataclass(frozen=True)
class Renames:
    """One family's table. In a pattern `*` is a number; a pattern names a tensor or a whole module.

    pairs      -- (name on disk, our name), the names that transformers saves; reversible
    aliases    -- (name on disk, our name) of other dialects, read only
    carried    -- stored but never computed with: kept unread and written back
    ignored    -- left out without a word (buffers that older versions stored)
    tied       -- (our name, our name of the tensor that is the same one when the config ties them)
    transposed -- our names of linear layers that are stored as (in, out)
    doubled    -- our names of tied tensors that are written too, as transformers 5.24 ties them not
    """

    pairs: Pairs
    aliases: Pairs = ()
    carried: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    tied: Pairs = ()
    transposed: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()

    def ours(self, name: str) -> str | None:
        """Our name of a tensor on disk, or None where the table does not know it."""
        for old, new in OLD_LEAVES:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        return self._to_ours[name]

    def on_disk(self, name: str) -> str:
        """The name under which a parameter of ours is saved."""
        found = self._to_disk[name]
        assert found is not None, f"{name} has no row in its renaming table"
        return found

    def layer_on_disk(self, path: str) -> str:
        """The name under which the weight of a layer is saved, without `.weight`."""
        return self.on_disk(f"{path}.weight").removesuffix(".weight")

    @cached_property
    def _to_ours(self) -> _Names:
        return _Names((*self.pairs, *self.aliases))

    @cached_property
    def _to_disk(self) -> _Names:
        return _Names(tuple((ours, disk) for disk, ours in self.pairs))

    def carries(self, name: str) -> bool:
        """Whether the tensor on disk is kept without being computed with."""
        return matches(self.carried, name)

    def ignores(self, name: str) -> bool:
        """Whether the tensor on disk is dropped."""
        return matches(self.ignored, name)

    def transposes(self, module: str) -> bool:
        """Whether a linear layer, by our name, is stored with its axes the other way round."""
        return matches(self.transposed, module)

    def standard(self, name: str, base: str) -> str | None:
        """A tensor's name in a file of this part alone, as the table has it.

        base -- what the part is called inside models with a task ("vit", "bert"): files have it in
        front or not. None for a tensor of another part or task, as a classifier is.
        """
        for spelled in self.spellings(name, base):
            if self.knows(spelled):
                return spelled
        bare = name.removeprefix(f"{base}.")
        known = (*(disk for disk, _ in (*self.pairs, *self.aliases)), *self.carried, *self.ignored)
        roots = {pattern.removeprefix(f"{base}.").split(".")[0] for pattern in known}
        return name if bare.split(".")[0] in roots else None

    def spellings(self, name: str, base: str) -> tuple[str, ...]:
        """What a tensor on disk may be in the table, with a part's name before it or without."""
        return (name, name.removeprefix(f"{base}."), f"{base}.{name}") if base else (name,)

    def knows(self, name: str) -> bool:
        """Whether the tensor on disk is a parameter, or is kept or dropped by a rule."""
        return bool(self.ours(name)) or self.carries(name) or self.ignores(name)

    def under(self, prefix: str) -> Renames:
        """The same table for a module that sits at `prefix`, on disk as in memory."""

        def below(row: Any) -> Any:
            return prefix + row if isinstance(row, str) else tuple(prefix + name for name in row)

        return Renames(*(tuple(map(below, table)) for table in self._tables))

    def __add__(self, other: Renames) -> Renames:
        pairs = zip(self._tables, other._tables, strict=True)
        return Renames(*(own + more for own, more in pairs))

    @property
    def _tables(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]


class NamedModule(nn.Module):
    """A module with a table of the names that its parameters have on disk."""

    renames: ClassVar[Renames]


class _Names(dict[str, str | None]):
    """The other name by a name: of its first row in a table, looked up when it is first asked for.

    A row's pattern is the name or a module that it is in; what follows in the name stays. Of a
    name that no row is for it is None.
    """

    def __init__(self, pairs: Pairs) -> None:
        super().__init__()
        self._pattern = _any_of(tuple(pattern for pattern, _ in pairs))
        self._replacements: dict[int, str] = {}  # by the number of a row's group
        group = 1
        for pattern, replacement in pairs:
            self._replacements[group] = replacement
            group += 1 + pattern.count("*")

    def __missing__(self, name: str) -> str | None:
        match, found = self._pattern.match(name), None
        if match and match.lastindex:
            found = self._replacements[match.lastindex]
            for number in match.groups()[match.lastindex : match.lastindex + found.count("*")]:
                found = found.replace("*", number, 1)
            found += name[match.end() :]
        return self.setdefault(name, found)


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of the patterns is the name, or a module that it is in."""
    return bool(_any_of(patterns).match(name))


@cache  # `re` forgets all but 512 patterns
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern of which each row is a group, with a group in it for each of the row's numbers."""
    rows = (re.escape(pattern).replace(r"\*", r"(\d+)") for pattern in patterns)
    return re.compile("|".join(rf"({row})(?=\.|$)" for row in rows) or "(?!)")


# --- what models are wrapped in


def unwrapped(names: Iterable[str], is_known: Callable[[str], bool], source: str) -> dict[str, str]:
    """The names in a file by what they are without wrappers.

    A prefix goes where no name is known with it, and half of the names or more are without it.
    """
    names = [*names]
    bare = {without_wrappers(name): name for name in names}
    if len(bare) < len(names):  # some are there twice
        bare = dict(zip(names, names, strict=True))
    prefix = "" if any(map(is_known, bare)) else _prefix([*bare], is_known)
    if prefix:
        LOG.info("the names of %s are read without %s, which stands before them", source, prefix)
    return {name.removeprefix(prefix): on_disk for name, on_disk in bare.items()}


def without_wrappers(name: str) -> str:
    """A name without the words that only wrappers put into it."""
    words = name.split(".")
    return name if WRAPPERS.isdisjoint(words) else ".".join(w for w in words if w not in WRAPPERS)


def _prefix(names: list[str], is_known: Callable[[str], bool]) -> str:
    """The shortest prefix without which most names are known; none where that is below half."""
    for prefix in _prefixes(names):
        known = sum(name.startswith(prefix) and is_known(name[len(prefix) :]) for name in names)
        if 2 * known >= len(names):
            return prefix
    return ""


def _prefixes(names: list[str]) -> Iterator[str]:
    """The first words that most names share, the first, the first two and so on."""
    words = [name.split(".") for name in names]
    for count in range(1, DEPTH + 1):
        found = Counter(".".join(own[:count]) for own in words if len(own) > count)
        if found:
            prefix = found.most_common(1)[0][0]
            if PARTS.isdisjoint(prefix.split(".")):
                yield f"{prefix}."
