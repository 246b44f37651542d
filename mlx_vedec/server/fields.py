"""The fields of a request, in JSON, in a form or in a query: parted, and each checked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from ..errors import nearest, shown
from ..generation.options import OPTIONS
from ..generation.resolve import ALIASES
from ..generation.values import SEEDS
from .refusals import Refusal, wrong

# Options that JSON can say, and that stand for one image.
OWN = frozenset(name for name, option in OPTIONS.items() if option.value.in_files) | {
    alias for alias, name in ALIASES.items() if OPTIONS[name].value.in_files
}
MOST = 100  # fields of a form or a query
TEXTS = ("prompt", "format", "model", "stop_strings")


def as_json(content: bytes) -> dict[str, Any]:
    """The object that a body says in JSON."""
    try:
        values = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise Refusal(400, f"the body is not JSON: {said}") from None
    if not isinstance(values, dict):
        raise Refusal(400, f"the body is {shown(values)}; expected a JSON object")
    return values


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def refuse_unknown(values: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
    """Raise `Refusal` for the first field that is not known."""
    for name in values:
        if name not in known:
            said = nearest(name[:80], sorted(known), "leave it out")
            raise Refusal(400, f"{ascii(name[:80])} is not taken here; {said}", param=name[:80])


def true_or_false(values: Mapping[str, Any], name: str) -> bool:
    """A field that is a truth; false where it is not there."""
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, value, "true or false")
    return bool(value)


def text_or_none(values: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text; None where it is not there."""
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, value, "a text")
    return value


def options_of(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The options of generation among fields.

    names -- of further fields, with the options that they are. A temperature by itself has tokens
    drawn, if it is above 0, as OpenAI's clients expect.
    """
    names = {**names, "temperature": "temperature" if "do_sample" in values else "temp"}
    options = {name: value for name, value in values.items() if name in OWN - names.keys()}
    for name, own in names.items():
        if name not in values:
            continue
        value = values[name]
        if name == "seed" and isinstance(value, int) and not isinstance(value, bool):
            value %= SEEDS  # OpenAI's may be negative
        OPTIONS[own].value.check(name, value)
        if options.get(own, value) != value:
            raise Refusal(400, f"{name} and another name of it are both given; give one of them")
        options[own] = value
    return options


# Forms, as browsers and curl send them, and queries


def multipart(content: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """The fields of a multipart/form-data body, in their order.

    >>> part = b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\n1\\r\\n'
    >>> multipart(part + b"--x--\\r\\n", b"x")
    [('a', b'1')]
    """
    mark = b"--" + boundary
    parts = (b"\r\n" + content).split(b"\r\n" + mark, MOST + 2)
    if len(parts) > MOST + 2 or len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise Refusal(400, f"the form is cut short, or has over {MOST} fields; send it whole")
    return [_field(part) for part in parts[1:-1]]


def _field(part: bytes) -> tuple[str, bytes]:
    head, empty, value = part.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
    disposition = re.search(rb"^content-disposition:(.*)$", head, re.IGNORECASE | re.MULTILINE)
    name = _parameter(disposition[1], "name") if disposition else None
    if not empty or not name:
        raise Refusal(400, "a part of the form has no name; expected form-data with names")
    return name, value


def _parameter(header: bytes, name: str) -> str | None:
    """A parameter of a header's value, such as `boundary`."""
    message = Message()
    message["Content-Type"] = header.decode("utf-8", "replace").strip().replace("\n", " ")[:1000]
    found = message.get_param(name)
    return found if isinstance(found, str) else None


def boundary_of(content_type: str) -> bytes:
    """The boundary that a form's type names."""
    found = _parameter(content_type.encode("latin-1", "replace"), "boundary")
    if not found or len(found) > 200:
        raise Refusal(400, "the form names no boundary; expected multipart/form-data; boundary=…")
    return found.encode("latin-1", "replace")


def query_fields(query: str) -> list[tuple[str, str]]:
    """The fields of an address's query."""
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=MOST, errors="strict")
    except ValueError:
        raise Refusal(400, f"the query is malformed, or has over {MOST} fields") from None


def collected(fields: Iterator[tuple[str, str]]) -> Mapping[str, Any]:
    """Fields by their names, each once; values are what they say in JSON, or else texts.

    Those of `TEXTS` are texts whatever they look like, or lists of them.

    >>> collected(iter([("boxes", "true"), ("prompt", "12"), ("format", "text")]))
    {'boxes': True, 'prompt': '12', 'format': 'text'}
    """
    found: dict[str, Any] = {}
    for name, text in fields:
        if name in found:
            raise Refusal(400, f"{ascii(name[:80])} is there twice; send it once", param=name[:80])
        found[name] = _value(name, text)
    return found


def _value(name: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if name in TEXTS and not isinstance(value, list) else value
