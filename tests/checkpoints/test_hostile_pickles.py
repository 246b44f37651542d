"""Pickles made to do harm: nothing of them runs, and none takes long or much memory."""

import inspect
import os
import pickle
import random
import re
import struct
import sys
from contextlib import contextmanager

import mlx.core as mx
import pytest

from mlx_vedec.checkpoints import pickle_opcodes as opcodes, pickles, torch_archives as archives
from mlx_vedec.errors import WeightsError
from tests.checkpoints.test_pickles import EIGHT, FLOATS, WHOLE, refused_pickle
from tests.support.torch_files import EMPTY, REBUILD, archive, literal, state_dict, storage, view

CALLS = 40  # that a byte of a pickle may cost, of functions of Python's and of C's
LEAF = b"ctests\nLeaf\n"


class Leaf:
    """What tuples of tuples are made of: to hash or to print them is so many calls of it."""

    def __hash__(self):
        return 1

    def __repr__(self):
        return "leaf"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setitem(pickles.NAMES, ("tests", "Leaf"), Leaf())
    return tmp_path / "pytorch_model.bin"


@contextmanager
def calls_below(most):
    """A context in which the call after so many fails."""
    made = 0

    def count(*_):
        nonlocal made
        made += 1
        if made > most:
            sys.setprofile(None)
            raise AssertionError(f"more than {most} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def called(module, name, *arguments):
    return f"c{module}\n{name}\n".encode() + literal(arguments) + b"R"


class Canary:
    """Pickles as a call of a function with a path."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_write_a_file(path, tmp_path, protocol):
    """Python's own machine runs it, which shows that it is one; ours does not."""
    canary = tmp_path / "canary"
    for function, arguments in (
        (os.mkdir, (str(canary),)),
        (os.system, (f"mkdir {canary}",)),
        (exec, (f"import os; os.mkdir({str(canary)!r})",)),
        (eval, (f"__import__('os').mkdir({str(canary)!r})",)),
    ):
        pickled = pickle.dumps({"x": Canary(function, *arguments)}, protocol)
        pickle.loads(pickled)
        canary.rmdir()
        message = refused_pickle(path, pickled)
        assert "of which weights have no need and nothing was run" in message
        assert not canary.exists()


END = b"."
NEST = b"q\0h\0\x86" * 200  # a tuple twice in a tuple, and so on: 2**200 in all
HOSTILE = {
    "system": called("os", "system", "true"),
    "posix": called("posix", "system", "true"),
    "eval": called("builtins", "eval", "1"),
    "getattr": called("builtins", "getattr", "", "join"),
    "apply": called("functools", "partial", "print"),
    "load": called("torch", "load", "x"),
    "bytes": called("torch.storage", "_load_from_bytes", b"x"),
    "sparse": called("torch._utils", "_rebuild_sparse_tensor", 1),
    "import": called("importlib", "import_module", "os"),
    "runpy": called("runpy", "run_path", "x"),
    "attribute of an allowed name": called("collections", "OrderedDict.fromkeys", "ab"),
    "module of an allowed name": called("collections.abc", "OrderedDict"),
    "allowed name with arguments": called("collections", "OrderedDict", (1,)),
    "newline in a name": b"\x8c\x06a\nb\r\x1bc\x8c\x01b\x93",
    "numbers as a name": b"K\x01K\x02\x93",
    "kind called": called("torch", "FloatStorage", 3),
    "text called": literal("print") + b")R",
    "dict as arguments": b"ccollections\nOrderedDict\n}R",
    "build with slots": EMPTY + b"(NNtb",
    "build a kind": b"ctorch\nFloatStorage\n}b",
    "build a text": literal("x") + b"}b",
    "build a tensor": WHOLE + b"}b",
    "inst": b"(ios\nsystem\n",
    "obj": b"(ctorch\nSize\n)o",
    "newobj": b"ccollections\nOrderedDict\n)\x81",
    "newobj_ex": b"ccollections\nOrderedDict\n)}\x92",
    "ext1": b"\x82\x01",
    "ext2": b"\x83\x01\x00",
    "ext4": b"\x84\x01\x00\x00\x00",
    "persid": b"P0\n",
    "persistent text": literal("0") + b"Q",
    "persistent module": b"(" + literal("module") + b"NNNtQ",
    "buffer": b"\x97",
    "bytearray": b"\x96" + struct.pack("<Q", 2**40),
    "int with many digits": b"I" + b"9" * 100_000 + b"\n",
    "long with many digits": b"L" + b"9" * 100_000 + b"L\n",
    "long4": b"\x8b" + struct.pack("<i", 2**30),
    "string": b"S'\\q'\n",
    "unicode": b"V\\ud800\n",
    "bytes8": b"\x8e" + struct.pack("<Q", 2**60),
    "set": b"\x8f",
    "dup": b"2",
    "vast text": b"X" + struct.pack("<I", 2**32 - 1),
    "vast memo": b"]r" + struct.pack("<I", 2**32 - 1),
    "surrogates": b"X\x03\0\0\0\xed\xa0\x80",
    "memo that is not there": b"h\x07",
    "empty stack": b"R",
    "tuple of nothing": b"\x87",
    "mark that is not there": b"t",
    "many marks": b"(" * 50_000,
    "deep lists": b"]" * 50_000 + b"a" * 49_999,
    "deep tuples": b")" + b"\x85" * 50_000,
    "list of itself": b"]q\0h\0a",
    "dict of itself": b"}q\0K\x01h\0s",
    "tuples of tuples": LEAF + NEST,
    "tuples of tuples as a name": LEAF + NEST + b"h\0\x93",
    "tuples of tuples as a persistent id": LEAF + NEST + b"Q",
    "tuples of tuples as arguments": REBUILD + LEAF + NEST + b"R",
    "tuples of tuples called": LEAF + NEST + b"h\0R",
    "tuples of tuples as a storage": b"(" + literal("storage") + LEAF + NEST + b"NNNtQ",
    "tuples of tuples as a key": b"}" + LEAF + NEST + b"K\x01s",
    "tuples of tuples as a shape": REBUILD + b"(" + EIGHT + b"K\0" + LEAF + NEST + b"h\0tR",
    "key that is a list": b"}]K\x01s",
    "key that is nothing": b"}NK\x01s",
    "odd items": b"}(K\x01u",
    "items of a list": b"](K\x01K\x02u",
    "append to a dict": b"}K\x01a",
}  # fmt: skip
LARGE = ("many marks", "deep lists", "deep tuples")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k in LARGE else k for k in HOSTILE]
)
def test_hostile_pickles(path, kind):
    """Alone, as a value of the dict, and after a good dict that is then lost."""
    good = state_dict({"x": WHOLE})[:-1]
    for pickled in (
        b"\x80\x02" + HOSTILE[kind] + END,
        b"\x80\x02}" + literal("x") + HOSTILE[kind] + b"s" + END,
        good + HOSTILE[kind] + END,
        good + HOSTILE[kind],
    ):
        with calls_below(5000 + CALLS * len(pickled)):
            refused_pickle(path, pickled)


def test_what_takes_long_is_seen():
    """The bound on calls holds of no pickle that is hashed or printed whole."""
    for harm in (hash, repr):
        nested = (Leaf(),)
        for _ in range(30):
            nested = (nested, nested)
        with pytest.raises(AssertionError, match="calls"), calls_below(10_000):
            harm(nested)


@pytest.mark.slow
def test_a_pickle_that_is_too_long(path):
    pickled = state_dict({"x": WHOLE})[:-1] + b"N" * pickles.LARGEST_PICKLE + END
    assert f"has a pickle of {len(pickled)} bytes" in refused_pickle(path, pickled)
    long = b"\x80\x02" + b"]\x94" * 5000 + END
    with calls_below(5000 + CALLS * len(long)):
        assert "holds no dict of tensors" in refused_pickle(path, long)


# mutations


def sample():
    """A file of several kinds of tensors, and its pickle and storages."""
    tensors = {
        "a.weight": view(EIGHT, 0, (6, 4), (1, 6)),
        "a.bias": view(EIGHT, 4, (3,), (2,)),
        "a.ids": view(storage("1", "LongStorage", 3), 0, (1, 3), (3, 1)),
        "a.mask": view(storage("2", "ByteStorage", 4), 3, (), ()),
    }
    storages = {"0": FLOATS.tobytes(), "1": bytes(24), "2": bytes(4)}
    return state_dict(tensors), storages


def survives(path, data):
    """Read bytes, and if that is allowed the tensors; whether it was."""
    path.touch()
    with path.open("r+b") as file:  # a file emptied first is flushed to the disk, which takes long
        file.write(data)
        file.truncate()
    try:
        tensors = pickles.read(path)
        assert all(x.size <= max(24, pickles.EXPANDED) for x in tensors.values())
        mx.eval(list(tensors.values()))
    except WeightsError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return False
    return True


def test_every_truncation(path):
    data = archive(*sample())
    assert survives(path, data)
    assert not any(survives(path, data[:size]) for size in range(len(data)))


@pytest.mark.slow
def test_every_byte_changed(path):
    """In the archive around the pickle too; numbers may change, and names, but nothing breaks."""
    data = archive(*sample())
    for place in range(len(data)):
        for change in (1 << place % 8, 0xFF):
            survives(path, data[:place] + bytes([data[place] ^ change]) + data[place + 1 :])


def mutated(rng, pickled):
    """The pickle with a few pieces of it, or of hostile ones, put in or in place of others."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(pickled))
        end = min(len(pickled), start + rng.choice((0, 0, 1, 1, 2, 8, 40)))
        source = rng.choice((pickled, *HOSTILE.values()))
        begin = rng.randrange(len(source))
        piece = rng.choice((source[begin : begin + rng.randint(1, 40)], rng.randbytes(1), b""))
        pickled = pickled[:start] + piece + pickled[end:]
    return pickled


@pytest.mark.parametrize("times", [1000, pytest.param(4000, marks=pytest.mark.slow)])
def test_thousands_of_mutated_pickles(path, times):
    rng = random.Random(0)
    pickled, storages = sample()
    read = sum(survives(path, archive(mutated(rng, pickled), storages)) for _ in range(times))
    assert 0 < read < times / 2


def test_every_opcode_everywhere(path):
    """Each of the 256 bytes at places all over the pickle."""
    pickled, storages = sample()
    for place in range(2, len(pickled), 61):
        for code in range(256):
            survives(path, archive(pickled[:place] + bytes([code]) + pickled[place:], storages))


def test_no_module_is_imported_by_a_name(path):
    """Names are looked up in a table, never in modules."""
    name = "antigravity"
    assert name not in sys.modules
    refused_pickle(path, b"\x80\x02" + called(name, "fly") + END)
    assert name not in sys.modules
    assert not re.search(r"\b(eval|exec|getattr|__import__|import_module)\(", _source())


def _source():
    return "".join(inspect.getsource(module) for module in (archives, opcodes, pickles))
