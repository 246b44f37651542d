"""Names of tensors in files of a model that was saved inside something else.

What a model is wrapped in puts its own name before all names: `torch.compile` has `_orig_mod.`,
data parallelism `module.`, trainers `model.`, PEFT `base_model.model.`, and one stands in another.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

LOG = logging.getLogger("mlx_vedec")
# Of the words in a name those that no model has for a part of its own, wherever they stand.
WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"}
PARTS = {"encoder", "decoder"}  # which are no wrappers
DEPTH = 5  # words of the longest prefix


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
