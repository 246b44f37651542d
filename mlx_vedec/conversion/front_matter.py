"""The YAML block at the head of a model card: read, written, and completed without a rewrite.

Words are read as the Hub reads them, by YAML 1.2: `language: no` is Norwegian, not false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ..errors import CheckpointError

BLOCK = re.compile(r"(?ms)\A\ufeff?\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)")
TRUTH = "tag:yaml.org,2002:bool"
DATE = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in (TRUTH, DATE)]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(TRUTH, re.compile("^(?:true|false)$"), list("tf"))


def split(text: str, source: str = "the card") -> tuple[dict[str, Any], str]:
    """The values of a card's block, empty where it has none, and the text after it.

    >>> split("---\\nlanguage: no\\n---\\n# A model\\n")
    ({'language': 'no'}, '# A model\\n')
    """
    found = BLOCK.match(text)
    if found is None:
        return {}, text
    try:
        values = yaml.load(found[1], _Loader)  # which is a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the front matter of {source} is not YAML ({reason}); mend or delete it"
        ) from error
    if not isinstance(values, dict | None):
        raise CheckpointError(
            f"the front matter of {source} is a {type(values).__name__}; expected keys and values"
        )
    return values or {}, text[found.end() :]


def joined(values: Mapping[str, Any], text: str) -> str:
    """A card of these values and this text."""
    return f"---\n{_dumped(values)}---\n{text}"


def completed(card: str, values: Mapping[str, Any]) -> str:
    """A card with values that its block lacks at the block's end, and not a letter changed."""
    found = BLOCK.match(card)
    if found is None:
        return joined(values, f"\n{card}")
    more = _dumped(values) if values else ""
    end = "\r\n" if "\r\n" in found[0] else "\n"
    return card[: found.end(1)] + more.replace("\n", end) + card[found.end(1) :]


def _dumped(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
