"""A pickle read as data: a closed list of opcodes and of names, and no way to call anything else.

A pickle is a program for a stack machine. Python's own runs any function that a file names; this
one knows literals, containers, and the few names that its caller gives it. Whatever else a file
asks for is refused before its argument is even looked at.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Refused(ValueError):
    """A pickle that asks for something that no data needs."""


@dataclass(frozen=True)
class Builder:
    """A name in a pickle that may be called: a function of ours, given the file's arguments."""

    build: Callable[[tuple[Any, ...]], Any]


Names = Mapping[tuple[str, str], Any]


@dataclass
class Machine:
    """The stack and memo that the opcodes of a pickle work on.

    names      -- (module, name) to a `Builder`, or to what the name stands for
    persistent -- makes of an object's id, which is for the archive around the pickle, its object
    """

    names: Names
    persistent: Callable[[Any], Any]
    stack: list[Any] = field(default_factory=list)
    outer: list[list[Any]] = field(default_factory=list)  # the stacks that marks set aside
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, data: bytes) -> Any:
        """The object that the pickle builds, or a ValueError.

        >>> Machine({}, str).run(b"\\x80\\x02}X\\x01\\0\\0\\0aK\\x07s.")
        {'a': 7}
        """
        stream = io.BytesIO(data)
        try:
            while (code := stream.read(1)) != b".":
                self._step(code, stream)
            return self.stack[-1]
        except LookupError as error:
            raise ValueError("its pickle takes what is not there") from error

    def _step(self, code: bytes, stream: io.BytesIO) -> None:
        if not code:
            raise ValueError("its pickle has no end")
        if code not in OPCODES:
            raise Refused(f"has the opcode {NAMES.get(code, code)}")
        read, act = OPCODES[code]
        act(self, read(stream) if read else None)

    def push(self, value: Any) -> None:
        """Put a value on top."""
        self.stack.append(value)

    def mark(self) -> None:
        """Set aside what there is, and go on with an empty stack."""
        self.outer.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """Take off what was pushed since the last mark."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def topmost(self, size: int) -> list[Any]:
        """Take off the last few that were pushed, in their order."""
        return [self.stack.pop() for _ in range(size)][::-1]

    def remember(self, place: int | None) -> None:
        """Keep what is on top, in the next place if none is named."""
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def recall(self, place: int) -> None:
        """Push what was kept in a place."""
        self.push(self.memo[place])

    def name(self, module: Any, name: Any) -> None:
        """Push what a name stands for."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("has a name that is no text")  # nor shown: it may print for ever
        if (module, name) not in self.names:
            raise Refused(f"names {f'{module}.{name}'[:80]!r}")
        self.push(self.names[module, name])

    def call(self) -> None:
        """Replace a builder and its arguments on the stack by what it makes of them."""
        arguments, builder = self.stack.pop(), self.stack.pop()
        if not isinstance(builder, Builder) or not isinstance(arguments, tuple):
            raise Refused("calls what is no function")
        self.push(builder.build(arguments))

    def set_items(self, items: list[Any]) -> None:
        """Put keys and values, in turn, into the dict on top."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise ValueError("items without a dict to go into")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # a tuple of tuples of … takes for ever to hash
                raise Refused("has keys that are neither text nor numbers")
            target[key] = value

    def extend(self, items: list[Any]) -> None:
        """Put values at the end of the list on top."""
        if type(self.stack[-1]) is not list:
            raise ValueError("items without a list to go into")
        self.stack[-1].extend(items)

    def build(self) -> None:
        """Forget the attributes of an ordered dict, which are the versions of torch's modules."""
        state = self.stack.pop()
        if type(state) is not dict or type(self.stack[-1]) is not dict:
            raise Refused("sets the attributes of an object")


Action = Callable[[Machine, Any], object]


ACTIONS: dict[str, Action] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE"), Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.topmost(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.topmost(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.topmost(3))),
    "SETITEM": lambda machine, _: machine.set_items(machine.topmost(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "APPEND": lambda machine, _: machine.extend(machine.topmost(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.marked()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.remember),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine.recall),
    "GLOBAL": lambda machine, names: machine.name(*names),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.topmost(2)),
    "BINPERSID": lambda machine, _: machine.push(machine.persistent(machine.stack.pop())),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}


def _two_lines(stream: io.BytesIO) -> tuple[str, str]:
    """A module and a name, as they stand; pickletools would undo escapes, which pickle does not."""
    lines = (stream.readline(), stream.readline())
    if not all(line.endswith(b"\n") for line in lines):
        raise ValueError("its pickle has no end")
    return lines[0][:-1].decode(), lines[1][:-1].decode()


READERS = {"GLOBAL": _two_lines}
NAMES = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
OPCODES: dict[bytes, tuple[Callable[[io.BytesIO], Any] | None, Action]] = {
    opcode.code.encode("latin-1"): (
        READERS.get(opcode.name, opcode.arg and opcode.arg.reader),
        ACTIONS[opcode.name],
    )
    for opcode in pickletools.opcodes
    if opcode.name in ACTIONS
}
