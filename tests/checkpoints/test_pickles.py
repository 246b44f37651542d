"""`pytorch_model.bin` without torch: what it may hold, and what it may not, which never runs."""

import io
import pickle
import struct
import zipfile

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.checkpoints import pickles
from mlx_vedec.errors import WeightsError
from tests.support.torch_files import (
    EMPTY,
    REBUILD,
    archive,
    literal,
    save,
    state_dict,
    storage,
    view,
)

FLOATS = np.arange(24, dtype=np.float32)
EIGHT = storage("0", "FloatStorage", 24)
WHOLE = view(EIGHT, 0, (24,), (1,))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pytorch_model.bin"


def one(path, tensor=WHOLE, data=None, **archived):
    """The file of one tensor, which is called x, on the storage of 24 floats."""
    storages = {"0": FLOATS.tobytes()} if data is None else data
    path.write_bytes(archive(state_dict({"x": tensor}), storages, **archived))
    return path


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        pickles.read(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 600
    return message


def refused_pickle(path, pickled):
    path.write_bytes(archive(pickled, {"0": FLOATS.tobytes()}))
    return refusal(path)


# what a file may hold


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
def test_every_type(path, dtype):
    values = np.array([[0, 1], [100, 7]]).astype(dtype)
    save(path, {"x": values, "scalar": values[1, 0], "none": values[:0]})
    got = pickles.read(path)
    assert list(got) == ["x", "scalar", "none"] and len(got) == 3
    for name, expected in (("x", values), ("scalar", values[1, 0]), ("none", values[:0])):
        array = np.array(got[name])
        assert array.dtype == expected.dtype and array.shape == expected.shape
        assert np.array_equal(array, expected)


def test_bfloat16(path):
    values = np.array([1.5, -2.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    one(path, view(storage("0", "BFloat16Storage", 2), 0, (2,), (1,)), {"0": bits.tobytes()})
    got = pickles.read(path)["x"]
    assert got.dtype == mx.bfloat16 and got.tolist() == values.tolist()


VIEWS = {
    "transposed": (0, FLOATS.reshape(4, 6).T),
    "permuted": (0, FLOATS.reshape(2, 3, 4).transpose(2, 0, 1)),
    "part": (5, FLOATS[5:11].reshape(2, 3)),
    "every third": (1, FLOATS[1::3]),
    "diagonal": (0, FLOATS[:16].reshape(4, 4).diagonal()),
    "expanded": (2, np.broadcast_to(FLOATS[2:5], (7, 3))),
    "one": (23, FLOATS[23]),
    "a column": (3, FLOATS.reshape(4, 6)[:, 3:4]),
    "nothing": (24, FLOATS[24:].reshape(0, 5)),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views(path, kind):
    offset, expected = VIEWS[kind]
    strides = tuple(step // 4 for step in expected.strides)
    got = pickles.read(one(path, view(EIGHT, offset, expected.shape, strides)))["x"]
    assert got.shape == expected.shape and np.array_equal(np.array(got), expected)


def test_tensors_that_are_one_in_the_file_are_one_here(path):
    tensors = {"embedding": WHOLE, "head": WHOLE, "part": view(EIGHT, 0, (4,), (1,))}
    path.write_bytes(archive(state_dict(tensors), {"0": FLOATS.tobytes()}))
    got = pickles.read(path)
    assert got["embedding"] is got["head"] and got["part"].tolist() == [0, 1, 2, 3]


def test_only_what_is_asked_for_is_read(path, monkeypatch):
    save(path, {"a": FLOATS, "b": FLOATS.reshape(2, 12)})
    seen, fromfile = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: seen.append(a[2]) or fromfile(*a, **k))
    got = pickles.read(path)
    assert "b" in got and not seen
    got["b"]
    assert seen == [24]


@pytest.mark.parametrize("changes", [{"root": "pytorch_model"}, {"root": "ck.pt"}, {"order": ""}])
def test_other_writers(path, changes):
    assert pickles.read(one(path, **changes))["x"].tolist() == FLOATS.tolist()


def test_the_other_byte_order(path):
    one(path, data={"0": FLOATS.astype(">f4").tobytes()}, order="big")
    assert pickles.read(path)["x"].tolist() == FLOATS.tolist()
    assert "has the byte order b'middle'; expected" in refusal(one(path, order="middle"))


def test_padding_before_the_data(path):
    """Torch fills the extra field of a member's own header until its data are aligned."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name, data in (
            ("a/data.pkl", state_dict({"x": WHOLE})),
            ("a/data/0", FLOATS.tobytes()),
        ):
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HH", 0x4246, 40) + b"Z" * 40
            members.writestr(info, data)
    path.write_bytes(file.getvalue())
    assert pickles.read(path)["x"].tolist() == FLOATS.tolist()


def test_parameters_and_the_first_rebuilding(path):
    hooks = b"\x88" + EMPTY
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + WHOLE + hooks + b"tR"
    old = view(EIGHT, 0, (24,), (1,), rest=b"").replace(b"_v2", b"")
    size = b"ctorch\nSize\n" + literal(((24,),)) + b"R"
    sized = REBUILD + b"(" + EIGHT + literal(0) + size + literal((1,)) + b"\x89" + EMPTY + b"tR"
    for tensor in (parameter, old, sized):
        assert pickles.read(one(path, tensor))["x"].tolist() == FLOATS.tolist()


def test_a_trainers_checkpoint(path):
    """The weights under "state_dict", beside what is none; but not beside other tensors."""
    inner = state_dict({"x": WHOLE})[2:-1]
    outer = b"\x80\x02}(" + literal("epoch") + literal(3) + literal("state_dict") + inner
    steps = literal("optimizer") + b"}" + literal(0) + b"}s"
    path.write_bytes(archive(outer + steps + b"u.", {"0": FLOATS.tobytes()}))
    assert list(pickles.read(path)) == ["x"]
    message = refused_pickle(path, outer + literal("y") + WHOLE + b"u.")
    assert "holds what is no tensor: 'epoch', 'state_dict'" in message


def test_names_of_data_parallel(path):
    """The prefix goes where all have it; one that is the model's own stays."""
    tensors = {"module.a": WHOLE, "module.b.module.c": WHOLE}
    path.write_bytes(archive(state_dict(tensors), {"0": FLOATS.tobytes()}))
    assert list(pickles.read(path)) == ["a", "b.module.c"]
    path.write_bytes(archive(state_dict({**tensors, "x": WHOLE}), {"0": FLOATS.tobytes()}))
    assert list(pickles.read(path)) == [*tensors, "x"]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(path, protocol):
    """Those after 2, which torch takes as an option, have other opcodes for the same."""
    pickled = pickle.dumps({"a" * 300: (1, 2**40, -5, 0.5, None, [True], "b")}, protocol)
    machine = pickles.Machine({}, str)
    assert machine.run(pickled) == {"a" * 300: (1, 2**40, -5, 0.5, None, [True], "b")}


def test_a_frame_is_not_believed(path):
    """Its length would have a reader fetch that much at once."""
    pickled = state_dict({"x": WHOLE})
    framed = b"\x80\x04\x95" + struct.pack("<Q", 2**63 - 1) + pickled[2:]
    path.write_bytes(archive(framed, {"0": FLOATS.tobytes()}))
    assert pickles.read(path)["x"].tolist() == FLOATS.tolist()


# what it may not hold


def test_files_of_another_kind(path):
    for start, expected in (
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "is of torch before 1.6"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "only Git LFS's pointer"),
        (b"<html>not found</html>", "is no archive of torch's; download it again"),
        (b"", "is no archive of torch's; download it again"),
    ):
        path.write_bytes(start)
        assert expected in refusal(path)
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    assert "revision='refs/pr/1'" in refusal(path) and "torch.save(torch.load(" in refusal(path)


def repacked(path, change):
    """The file with its members' list changed: (name, data, compression) of each."""
    with zipfile.ZipFile(path) as members:
        entries = [(name, members.read(name), zipfile.ZIP_STORED) for name in members.namelist()]
    with zipfile.ZipFile(path, "w") as members:
        for name, data, compression in change(entries):
            members.writestr(name, data, compression)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_not_torchs(path):
    changes = {
        "is compressed or encrypted": lambda e: [(n, d, zipfile.ZIP_DEFLATED) for n, d, _ in e],
        "two members of one name": lambda e: [*e, e[2]],
        "without torch's data.pkl": lambda e: e[1:],
        "expected what torch.save writes": lambda e: [*e, ("b/data.pkl", b"", 0)],
        "of None bytes, expected 96": lambda e: [x for x in e if not x[0].endswith("data/0")],
        "of 90 bytes, expected 96": lambda e: [
            (n, d[:90] if d == FLOATS.tobytes() else d, c) for n, d, c in e
        ],
    }
    for message, change in changes.items():
        assert message in refusal(repacked(one(path), change)), message


def test_members_that_overlap(path):
    """As of an archive made to seem larger than it is."""
    data = bytearray(one(path).read_bytes())
    size = struct.pack("<I", 96)
    place = data.rindex(size * 2)  # of the storage, in the list at the end
    data[place : place + 8] = struct.pack("<II", 500, 500)
    path.write_bytes(data)
    assert "'archive/data/0' has no 500 bytes" in refusal(path)


TENSORS = {
    "past the end": view(EIGHT, 0, (5, 5), (5, 1)),
    "past the end by its offset": view(EIGHT, 1, (24,), (1,)),
    "past the end by its strides": view(EIGHT, 0, (4, 6), (7, 1)),
    "negative strides": view(EIGHT, 23, (24,), (-1,)),
    "negative offset": view(EIGHT, -1, (4,), (1,)),
    "negative shape": view(EIGHT, 0, (-4,), (1,)),
    "a truth for a number": view(EIGHT, 0, (True,), (1,)),
    "a text for a number": view(EIGHT, 0, ("4",), (1,)),
    "axes without strides": view(EIGHT, 0, (4, 6), (1,)),
    "many axes": view(EIGHT, 0, (1,) * 9, (1,) * 9),
    "nothing, of a vast shape": view(EIGHT, 0, (0, 2**40), (1, 1)),
    "much of little": view(EIGHT, 0, (2**30, 24), (0, 1)),
    "a huge number": view(EIGHT, 2**2000, (4,), (1,)),
    "a list for a shape": view(EIGHT, 0, [4], (1,)),
    "no storage": REBUILD + literal((None, 0, (4,), (1,))) + b"R",
    "too few arguments": REBUILD + b")R",
    "a storage of a storage": view(storage("0", "FloatStorage", "24"), 0, (24,), (1,)),
    "a vast storage": view(storage("0", "FloatStorage", 2**62), 0, (24,), (1,)),
    "another storage": view(storage("7", "FloatStorage", 24), 0, (24,), (1,)),
    "a storage outside": view(storage("../version", "FloatStorage", 24), 0, (24,), (1,)),
    "a larger kind": view(storage("0", "DoubleStorage", 24), 0, (24,), (1,)),
    "complex numbers": view(storage("0", "ComplexFloatStorage", 12), 0, (12,), (1,)),
    "a minus to be taken": view(
        EIGHT, 0, (4,), (1,), b"\x89" + EMPTY + b"}" + literal("neg") + b"\x88s"
    ),
    "a parameter of nothing": b"ctorch._utils\n_rebuild_parameter\n)R",
    "no tensor": literal("a text"),
    "a storage alone": EIGHT,
    "a kind": b"ctorch\nFloatStorage\n",
    "a function": REBUILD,
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_are_none(path, kind):
    message = refusal(one(path, TENSORS[kind]))
    assert "download it again" in message or "refs/pr/1" in message


def test_messages_say_what(path):
    for tensor, expected in (
        (TENSORS["past the end"], "a tensor of shape (5, 5) in a storage of 24"),
        (TENSORS["complex numbers"], "names 'torch.ComplexFloatStorage', of which weights have no"),
        (TENSORS["a minus to be taken"], "a sign or conjugate still to be taken"),
        (TENSORS["another storage"], "'x' is in 'data/7' of None bytes, expected 96"),
        (TENSORS["no tensor"], "holds what is no tensor: 'x'"),
    ):
        assert expected in refusal(one(path, tensor))
