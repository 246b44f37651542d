"""Names on disk and names in memory, as data: a table that is read in both directions."""

from __future__ import annotations

import re
from dataclasses import dataclass

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Renames:
    """One family's table. In a pattern `*` is a number; a pattern names a tensor or a whole module.

    pairs    -- (name on disk, our name), the names that transformers saves; reversible
    aliases  -- (name on disk, our name) of other dialects, read only
    carried  -- stored but never computed with: kept unread and written back
    ignored  -- left out without a word (buffers that older versions stored)
    tied     -- (our name, our name of the tensor that is the same one when the config ties them)
    """

    pairs: Pairs
    aliases: Pairs = ()
    carried: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    tied: Pairs = ()

    def ours(self, name: str) -> str | None:
        """Our name of a tensor on disk, or None where the table does not know it."""
        return _first((*self.pairs, *self.aliases), name)

    def on_disk(self, name: str) -> str:
        """The name under which a parameter of ours is saved."""
        found = _first(tuple((ours, disk) for disk, ours in self.pairs), name)
        assert found is not None, f"{name} has no row in its renaming table"
        return found

    def carries(self, name: str) -> bool:
        """Whether the tensor on disk is kept without being computed with."""
        return any(_match(pattern, name) for pattern in self.carried)

    def ignores(self, name: str) -> bool:
        """Whether the tensor on disk is dropped."""
        return any(_match(pattern, name) for pattern in self.ignored)

    def under(self, prefix: str) -> Renames:
        """The same table for a module that sits at `prefix`, on disk as in memory."""

        def pairs(table: Pairs) -> Pairs:
            return tuple((prefix + left, prefix + right) for left, right in table)

        def names(table: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(prefix + name for name in table)

        return Renames(
            pairs(self.pairs),
            pairs(self.aliases),
            names(self.carried),
            names(self.ignored),
            pairs(self.tied),
        )

    def __add__(self, other: Renames) -> Renames:
        return Renames(
            self.pairs + other.pairs,
            self.aliases + other.aliases,
            self.carried + other.carried,
            self.ignored + other.ignored,
            self.tied + other.tied,
        )


def _match(pattern: str, name: str) -> re.Match[str] | None:
    return re.match(re.escape(pattern).replace(r"\*", r"(\d+)") + r"(?=\.|$)", name)


def _first(pairs: Pairs, name: str) -> str | None:
    for pattern, replacement in pairs:
        if match := _match(pattern, name):
            for number in match.groups():
                replacement = replacement.replace("*", number, 1)
            return replacement + name[match.end() :]
    return None
