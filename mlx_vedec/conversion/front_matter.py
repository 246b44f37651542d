"""The front matter of a model card, the YAML block at its head: read, written and completed.

It is not left to `huggingface_hub.ModelCard` or `metadata_save`, for two reasons. They read YAML
1.1, where `language: no` is false; the Hub reads YAML 1.2, where it is Norwegian. And to add a key
they write the whole block anew, which loses the author's comments and layout.
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
    """The values of a card's front matter, none where it has no such block, and the text after it.

    source -- how errors name the card.

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
    """A card whose front matter has these values, before this text."""
    return f"---\n{_dumped(values)}---\n{text}"


def completed(card: str, values: Mapping[str, Any]) -> str:
    """A card with these values added at the end of its front matter, and not a letter changed."""
    found = BLOCK.match(card)
    if found is None:
        return joined(values, f"\n{card}")
    more = _dumped(values) if values else ""
    end = "\r\n" if "\r\n" in found[0] else "\n"
    return card[: found.end(1)] + more.replace("\n", end) + card[found.end(1) :]


def _dumped(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
