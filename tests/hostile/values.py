"""Values that nobody should give, and files damaged in every way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx
import numpy as np

DEEP = 100_000


def _deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(2000):
        value = [value]
    return value


# What JSON can say.
PLAIN: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 1000, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**30),
    *(0.0, -1.0, 0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", "x", "1", "\0", "é\ud800", "a/../b", "x" * 5000, "%s{}", "<s>", "float32"),
    *("(", "(a+)+$", "(.*)*x", "*", "../" * 40, "~", "/dev/zero", "nan", "1e5", "ﬁ\u202e"),
    *([], [[]], [None], [1], [-1], [2**70], ["x"], [1, "x", None], [0.5, float("nan")], [3, 3, 3]),
    *({}, {"": 1}, {"a": None}, {"height": -1, "width": 2**40}, {"0": [1]}),
]
# What only a call can say.
OBJECTS: list[Any] = [
    *(
        b"",
        b"bytes",
        1j,
        object(),
        set(),
        {1, 2},
        (),
        (1, "x"),
        range(3),
        _deep(),
        Path("no/where"),
    ),
    *(len, print, lambda *a: a, lambda *a: None, int, iter(()), 10**400, np.float32(1.5)),
    *(np.zeros(3), np.zeros((0, 0)), np.array("x"), mx.zeros((2, 2)), mx.array([], mx.int32)),
]
# Texts in the place of a JSON value.
RAW = (
    *("", "NaN", "-Infinity", "1e999", "9" * 5000, "[" * DEEP, '{"a":' * DEEP, "nul", "'x'", "{,}"),
    *(
        '"\\ud800"',
        '{"a": 1, "a": 2}',
        "[" * 900 + "]" * 900,
        "\ufeff{}",
        "// x\n1",
        '"' + "x" * 10**6,
    ),
)


def hostile(rng: Random) -> Any:
    """Any value."""
    if rng.random() < 0.6:
        return deepcopy(rng.choice(PLAIN))
    return rng.choice(OBJECTS)


def short(value: Any) -> str:
    """A value as code, cut; its type where it has no such form."""
    try:
        return repr(value)[:60]
    except (RecursionError, ValueError):
        return f"a {type(value).__name__}"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values inside a JSON value; of long lists the first few."""
    if path:
        yield path
    inner = enumerate(value[:8]) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else inner:
        yield from places(item, (*path, key))


def spoiled_json(text: str, rng: Random) -> tuple[str, str]:
    """A JSON text with one to three values changed, taken out or added; and what was done."""
    value, done = json.loads(text), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        found = [*places(value)]
        if not found:
            break
        *path, last = rng.choice(found)
        inside = value
        for key in path:
            inside = inside[key]
        where = ".".join(map(str, (*path, last)))
        if rng.random() < 0.15:
            del inside[last]
            done.append(f"without {where}")
        elif rng.random() < 0.1:
            marker = f"@{rng.random()}@"
            inside[last], raw = marker, rng.choice(RAW)
            return json.dumps(value).replace(json.dumps(marker), raw), f"{where}: {raw[:30]}"
        else:
            new = inside[last] = deepcopy(rng.choice(PLAIN))
            done.append(f"{where} = {short(new)}")
    return json.dumps(value), "; ".join(done)


def spoiled_bytes(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Bytes cut, flipped, doubled, blanked or filled in; and what was done."""
    found, done = bytearray(data), []
    for _ in range(rng.choice((1, 1, 2, 4))):
        # heads matter more than what follows
        reach = min(len(found), 200) if rng.random() < 0.5 else len(found)
        first = rng.randrange(reach) if reach else 0
        count = rng.choice((1, 2, 4, 16, 300))
        kind = rng.choice(("cut", "flip", "set", "double", "blank", "insert"))
        part = slice(first, first + count)
        if kind == "cut":
            del found[first:]
        elif kind == "flip" and found:
            found[first] ^= 1 << rng.randrange(8)
        elif kind == "set":
            found[part] = bytes([rng.choice((0, 1, 127, 128, 255))]) * len(found[part])
        elif kind == "double":
            found[first:first] = found[part]
        elif kind == "blank":
            del found[part]
        else:
            found[first:first] = rng.randbytes(count)
        done.append(f"{kind} {first}+{count}")
    return bytes(found), ", ".join(done)
