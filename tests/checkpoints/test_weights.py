"""Loading is strict: everything that does not fit is named, once."""

import json
import os
import shutil
import struct

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderModel, errors
from mlx_vedec.checkpoints import saving
from mlx_vedec.checkpoints.saving import NAMES, tensors_on_disk
from mlx_vedec.checkpoints.weights import SINGLE, files, parameters, read
from mlx_vedec.decoders.distilbert import sines_and_cosines
from mlx_vedec.decoders.positions import SinusoidalTable
from mlx_vedec.errors import LONGEST, CheckpointError, ConfigError, WeightsError
from tests.support.killing import killed_at
from tests.support.tiny import pixels, tiny_config, tiny_model
from tests.support.torch_files import save as save_pickle


@pytest.fixture
def folder(tmp_path):
    tiny_model(deit=True).save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    path = folder / "model.safetensors"
    tensors = dict(mx.load(str(path)))
    mx.eval(tensors)
    mx.save_safetensors(str(path), change(tensors))


def load_error(folder):
    with pytest.raises(WeightsError) as caught:
        VisionEncoderDecoderModel.from_pretrained(folder)
    return str(caught.value)


def test_round_trip_is_bit_equal(folder):
    model = tiny_model(deit=True)
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    before, after = parameters(model), parameters(again)
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]) for name in before)
    assert mx.array_equal(
        model(pixels(), mx.array([[2, 3]] * 2))[0], again(pixels(), mx.array([[2, 3]] * 2))[0]
    )


def test_missing_extra_and_misshapen_are_all_named(folder):
    def change(tensors):
        del tensors["encoder.layernorm.bias"], tensors["decoder.model.decoder.layers.1.fc1.weight"]
        tensors["decoder.model.decoder.embed_tokens.weight"] = mx.zeros((5, 32))
        tensors["encoder.layernorm.weight"] = mx.zeros((24, 1, 1, 1))
        tensors["encoder.layernorm.scale"] = mx.zeros((24,))
        tensors["stray"] = mx.zeros((1,))
        return tensors

    rewrite(folder, change)
    message = load_error(folder)
    for part in (
        "2 missing: decoder.model.decoder.layers.1.fc1.weight, encoder.layernorm.bias",
        "2 extra: encoder.layernorm.scale, stray",
        "decoder.model.decoder.embed_tokens.weight is (5, 32), expected (37, 32)",
        "encoder.layernorm.weight is (24, 1, 1, 1), expected (24,)",
    ):
        assert message.count(part) == 1
    assert "\n" not in message


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_file(folder, keep):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    assert "download it again" in load_error(folder)


def test_not_safetensors_at_all(folder):
    (folder / "model.safetensors").write_text("<html>not found</html> " * 40)
    assert "is not a safetensors file" in load_error(folder)


def test_names_of_transformers_5_in_memory(folder):
    ours_to_v5 = {
        "encoder.encoder.layer": "encoder.layers",
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }

    def change(tensors):
        renamed = {}
        for name, tensor in tensors.items():
            for old, new in ours_to_v5.items():
                name = name.replace(old, new) if name.startswith("encoder") else name
            renamed[name] = tensor
        return renamed

    rewrite(folder, change)
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    expected = tiny_model(deit=True).encode(pixels())
    assert mx.array_equal(again.encode(pixels()), expected)


def test_what_is_not_computed_with_is_carried(folder, tmp_path):
    pooler = mx.random.normal((24, 24))
    rewrite(folder, lambda tensors: {**tensors, "encoder.pooler.dense.weight": pooler})
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    assert not any("pooler" in name for name in parameters(model))
    model.save_pretrained(tmp_path / "again")
    saved = mx.load(str(tmp_path / "again" / "model.safetensors"))
    assert mx.array_equal(saved["encoder.pooler.dense.weight"], pooler)
    model.astype("float16").save_pretrained(tmp_path / "half")
    saved = mx.load(str(tmp_path / "half" / "model.safetensors"))
    assert {x.dtype for x in saved.values()} == {mx.float16}


def test_saving_over_the_folder_it_was_read_from(folder):
    """The weights are lazy until they are used; the file under them may be replaced."""
    model = VisionEncoderDecoderModel.from_pretrained(folder, lazy=True)
    model.save_pretrained(folder)
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    assert mx.array_equal(again.encode(pixels()), tiny_model(deit=True).encode(pixels()))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


HEAD, EMBED = "decoder.output_projection.weight", "decoder.model.decoder.embed_tokens.weight"


def test_a_head_that_is_stored_and_differs_is_not_tied(folder):
    rewrite(folder, lambda tensors: {**tensors, HEAD: tensors[EMBED] + 1})
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    assert not model.config.decoder.tie_word_embeddings
    assert mx.array_equal(model.decoder.lm_head.weight, model.decoder.embed_tokens.weight + 1)


def test_a_head_that_is_stored_twice_is_tied(folder):
    rewrite(folder, lambda tensors: {**tensors, HEAD: tensors[EMBED]})
    model = VisionEncoderDecoderModel.from_pretrained(folder)
    assert "lm_head" not in model.decoder


def test_an_embedding_is_taken_from_a_tied_head(folder):
    def change(tensors):
        tensors[HEAD] = tensors.pop(EMBED)
        return tensors

    rewrite(folder, change)
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    assert mx.array_equal(
        again.decoder.embed_tokens.weight, tiny_model(deit=True).decoder.embed_tokens.weight
    )


def test_shards_are_read_together(folder):
    path = folder / "model.safetensors"
    tensors = dict(mx.load(str(path)))
    mx.eval(tensors)
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        shard = f"model-0000{number}-of-00002.safetensors"
        mx.save_safetensors(str(folder / shard), {name: tensors[name] for name in part})
        index |= dict.fromkeys(part, shard)
    path.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    assert mx.array_equal(again.encode(pixels()), tiny_model(deit=True).encode(pixels()))
    (folder / shard).unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00002"):
        VisionEncoderDecoderModel.from_pretrained(folder)


def test_shards_are_written_and_read_back(folder):
    """Several files of bounded size with an index; a later save in one piece takes them away."""
    model = VisionEncoderDecoderModel.from_pretrained(folder, lazy=True)
    model.save_pretrained(folder, max_shard_size=20_000)
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 3 and not (folder / "model.safetensors").exists()
    assert all(sum(x.nbytes for x in mx.load(str(path)).values()) <= 20_000 for path in shards)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {path.name for path in shards}
    again = VisionEncoderDecoderModel.from_pretrained(folder, lazy=True)
    expected = tiny_model(deit=True).encode(pixels())
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in read(folder).values())
    again.save_pretrained(folder)
    assert [path.name for path in folder.glob("model*")] == ["model.safetensors"]
    assert mx.array_equal(
        VisionEncoderDecoderModel.from_pretrained(folder).encode(pixels()), expected
    )


# torch's pickles


def as_pickles(folder, shards=1):
    """Put `pytorch_model.bin` in place of the safetensors, or several of them with an index."""
    path = folder / "model.safetensors"
    arrays = {name: np.array(x) for name, x in mx.load(str(path)).items()}
    path.unlink()
    if shards == 1:
        return save_pickle(folder / "pytorch_model.bin", arrays)
    index = {}
    for number in range(shards):
        name = f"pytorch_model-0000{number + 1}-of-0000{shards}.bin"
        part = {key: arrays[key] for key in sorted(arrays)[number::shards]}
        save_pickle(folder / name, part)
        index |= dict.fromkeys(part, name)
    path = folder / "pytorch_model.bin.index.json"
    return path.write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.mark.parametrize("shards", [1, 3])
def test_pickles_are_read_where_there_is_nothing_else(folder, shards):
    as_pickles(folder, shards)
    model = VisionEncoderDecoderModel.from_pretrained(folder, dtype="bfloat16", lazy=True)
    assert {x.dtype for x in parameters(model).values()} == {mx.bfloat16}
    again = VisionEncoderDecoderModel.from_pretrained(folder)
    assert mx.array_equal(again.encode(pixels()), tiny_model(deit=True).encode(pixels()))
    again.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()


def test_of_a_pickle_only_a_parts_own_tensors_are_read(tmp_path, monkeypatch):
    """A task's head, and what the table drops, stay where they are."""
    encoder = tiny_model().encoder
    encoder.save_pretrained(tmp_path)
    arrays = {name: np.array(x) for name, x in mx.load(str(tmp_path / SINGLE)).items()}
    (tmp_path / SINGLE).unlink()
    more = {"classifier.weight": np.ones((5, 24), np.float32)}
    save_pickle(tmp_path / "pytorch_model.bin", {**arrays, **more})
    seen, fromfile = [], np.fromfile
    monkeypatch.setattr(np, "fromfile", lambda *a, **k: seen.append(a[2]) or fromfile(*a, **k))
    again = type(encoder).from_pretrained(tmp_path)
    assert mx.array_equal(again(pixels())[0], encoder(pixels())[0])
    assert sorted(seen) == sorted(x.size for x in arrays.values())


def test_which_file_is_read_of_several(folder):
    """Safetensors before pickles, and what is whole before shards."""
    order = (
        *("model.safetensors", "model.safetensors.index.json"),
        *("pytorch_model.bin", "pytorch_model.bin.index.json"),
    )
    others = folder / "others"
    others.mkdir()
    for number, name in enumerate(order):
        shard = name.replace(".index.json", "").replace(".", "-1.", 1)
        path = others / (shard if name.endswith(".json") else name)
        if "model.s" in name:
            mx.save_safetensors(str(path), {"which": mx.array([number])})
        else:
            save_pickle(path, {"which": np.array([number])})
        if name.endswith(".json"):
            (others / name).write_text(json.dumps({"weight_map": {"which": path.name}}))
    for number, name in enumerate(order):
        assert read(others)["which"].tolist() == [number]
        (others / name).unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors or pytorch_model\.bin; it"):
        read(others)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {}},
        {},
        {"weight_map": ["a"]},
        {"weight_map": {"a": "../secret.bin"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "."}},
        {"weight_map": {"a": 3}},
    ],
)
def test_an_index_that_names_no_files_here(tmp_path, index):
    (tmp_path / "secret.bin").write_bytes(b"")
    inner = tmp_path / "model"
    inner.mkdir()
    (inner / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"index\.json names .*; download them again"):
        read(inner)


def test_headers_that_say_what_is_not_so(folder):
    """Of safetensors: shapes that the bytes do not fill, bytes twice, and nested without end."""
    path = folder / "model.safetensors"
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header in (
        json.dumps({"a": {**one, "shape": [1000]}}),
        json.dumps({"a": {**one, "data_offsets": [0, "8"]}}),
        json.dumps({"a": {**one, "data_offsets": [-8, 0]}}),
        json.dumps({"a": {**one, "dtype": "F33"}}),
        json.dumps({"a": one, "b": one}),
        "[" * 100_000,
    ):
        path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(8))
        assert "is not a safetensors file, or not all of one" in load_error(folder)


def test_astype():
    model = tiny_model().astype("bfloat16")
    assert {x.dtype for x in parameters(model).values()} == {mx.bfloat16}
    with pytest.raises(ConfigError, match="dtype is int8; expected one of float32"):
        model.astype("int8")


def fail_at(monkeypatch, module, name, count):
    """Let a function of a module fail at its n-th call, from 0."""
    real, calls = getattr(module, name), []

    def call(*arguments):
        calls.append(1)
        if len(calls) > count:
            raise OSError("disk full")
        return real(*arguments)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize("shard_size", [10**9, 20_000])
def test_a_failed_save_leaves_the_old_folder(folder, monkeypatch, shard_size):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fail_at(monkeypatch, saving, "stream_tensors", 0 if shard_size > 20_000 else 3)
    model = tiny_model()
    model.config.pad_token_id = 7
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(folder, max_shard_size=shard_size)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("sizes", [(60_000, 60_000), (60_000, 10**9), (10**9, 60_000)])
def test_weights_are_the_old_or_the_new_when_a_save_ends(tmp_path, monkeypatch, sizes):
    """Shards over as many shards, over one file, and the reverse: never some of each."""
    old, new = tiny_model(deit=True), tiny_model(deit=True)
    new.apply(lambda x: x + 1)
    old.save_pretrained(tmp_path / "old", max_shard_size=sizes[0])
    found, count = [], 0
    while True:
        trial = shutil.copytree(tmp_path / "old", tmp_path / f"trial {count}")
        with monkeypatch.context() as patched:
            fail_at(patched, os, "replace", count)
            try:
                new.save_pretrained(trial, max_shard_size=sizes[1])
                break
            except OSError:
                count += 1
        tensors = read(trial)
        model = VisionEncoderDecoderModel.from_pretrained(trial)
        assert len(tensors) == len(parameters(model)) + len(model._carried)
        same = [
            all(mx.array_equal(x, own[name]) for name, x in parameters(model).items())
            for own in (parameters(old), parameters(new))
        ]
        assert sum(same) == 1
        found.append(same[1])
    assert count > 2 and found == sorted(found) and not found[0]
    again = VisionEncoderDecoderModel.from_pretrained(trial)
    assert mx.array_equal(again.encode(pixels()), new.encode(pixels()))
    shards = {path.name for path in trial.glob("model-*.safetensors")}
    assert shards == (set() if sizes[1] > 60_000 else {path.name for path in files(trial)})


@pytest.mark.parametrize(
    "sizes",
    [
        (10**9, 10**9),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ((60_000, 10**9), (10**9, 60_000))),
    ],
)
def test_killed_at_any_step_a_save_leaves_the_old_model_or_the_new(tmp_path, monkeypatch, sizes):
    """Config, generation options and weights all of one; and the next save clears the rest away."""
    old, new = tiny_model(), tiny_model()
    new.apply(lambda x: x + 1)
    for model, length in ((old, 5), (new, 6)):
        model.config.extra["note"] = length
        model.generation_config.max_new_tokens = length
    old.save_pretrained(tmp_path / "old", max_shard_size=sizes[0])
    (tmp_path / "old" / "mine.txt").write_text("own")
    saved = []
    for step in range(60):
        folder = shutil.copytree(tmp_path / "old", tmp_path / f"{step}")
        with monkeypatch.context() as patched, killed_at(patched, step) as steps:
            new.save_pretrained(folder, max_shard_size=sizes[1])
        is_new = tiny_config().from_pretrained(folder).note == 6  # as all readers begin
        options = json.loads((folder / "generation_config.json").read_text())
        assert options["max_new_tokens"] == (6 if is_new else 5)
        own, tensors = tensors_on_disk(new if is_new else old), read(folder)
        assert tensors.keys() == own.keys() | new.unread().keys()
        assert all(mx.array_equal(x, tensors[name]) for name, x in own.items())
        saved.append(is_new)
        old.save_pretrained(folder, max_shard_size=sizes[0])
        assert {*folder.iterdir()} == {folder / p.name for p in (tmp_path / "old").iterdir()}
        shutil.rmtree(folder)
        if steps.done < step:
            break
    assert step > 8 and saved == sorted(saved) and not saved[0] and saved[-1]


@pytest.mark.parametrize("dtype", NAMES, ids=NAMES.values())
def test_every_type_is_written(tmp_path, dtype):
    """As MLX reads it, views and what has no rows included."""
    path, values = tmp_path / "x.safetensors", mx.arange(24).reshape(2, 3, 4).astype(dtype)
    tensors = {"all": values, "turned": values.T, "one": values[0, 0, 1], "none": values[:0]}
    shapes = {name: (x.dtype, x.shape) for name, x in tensors.items()}
    seen = []
    saving.stream_tensors(path, shapes, tensors.__getitem__, {"format": "pt"}, seen.append)
    found, metadata = mx.load(str(path), return_metadata=True)
    assert metadata == {"format": "pt"} and found.keys() == tensors.keys()
    assert all(x.dtype == dtype and mx.array_equal(x, tensors[n]) for n, x in found.items())
    assert sum(seen) == saving.nbytes(shapes)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("decoder", {"decoder_layers": 2**31 - 1}),
        ("decoder", {"decoder_layers": 200}),
        ("encoder", {"num_hidden_layers": 10**6}),
        ("encoder", {"image_size": 2**31 - 1}),
        ("encoder", {"image_size": 2**63}),
        ("encoder", {"initializer_range": 2**63}),
        ("encoder", {"initializer_range": float("inf")}),
        ("decoder", {"pad_token_id": 2**63}),
        ("decoder", {"max_position_embeddings": float("nan")}),
    ],
)
def test_sizes_that_the_weights_cannot_have(folder, monkeypatch, part, values):
    """Nothing of the model is made before the weights are looked at."""
    change_config(folder, part, **values)
    if "layers" in str(values):
        monkeypatch.setattr("mlx.nn.Linear.__init__", None)
    with pytest.raises(ConfigError, match=next(iter(values)) + "|no model of the sizes|too many"):
        VisionEncoderDecoderModel.from_pretrained(folder)


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "decoder_ffn_dim"])
def test_widths_that_the_weights_do_not_have(folder, name):
    change_config(folder, "decoder", **{name: 2**31 - 4})
    with pytest.raises((WeightsError, ConfigError)):
        VisionEncoderDecoderModel.from_pretrained(folder)


def test_tables_that_are_computed_are_bounded():
    """No file has them, so no file says how large they can be."""
    with pytest.raises(ConfigError, match="table of positions is 2147483647 x 16; expected"):
        SinusoidalTable(2**31 - 1, 16)
    with pytest.raises(ConfigError, match="table of positions is 1000000 x 768"):
        sines_and_cosines(10**6, 768)


def change_config(folder, part, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config[part].update(values)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_json_without_end(folder, text):
    for name in ("config.json", "generation_config.json"):
        before = (folder / name).read_text()
        (folder / name).write_text(text)
        with pytest.raises(ConfigError, match=f"{name} is not JSON"):
            VisionEncoderDecoderModel.from_pretrained(folder)
        (folder / name).write_text(before)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors"])
def test_pipes_are_not_waited_for(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    if name != "generation_config.json":
        with pytest.raises(ValueError, match="has no|regular file"):
            VisionEncoderDecoderModel.from_pretrained(folder)
    else:
        VisionEncoderDecoderModel.from_pretrained(folder)


def test_a_header_of_millions_of_characters_makes_a_bounded_message(folder):
    header = json.dumps({"x" * 3_000_000: {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}})
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(8))
    assert len(load_error(folder)) <= LONGEST


@pytest.mark.parametrize("kind", errors.Error.__subclasses__())
def test_every_message_is_bounded(kind):
    error = kind("what was got " + "x" * 10**7 + " what to do")
    assert len(str(error)) <= LONGEST and len(repr(error)) < LONGEST + 100
    assert str(error).startswith("what was got") and str(error).endswith("what to do")
    assert str(kind("short")) == "short" and str(kind()) == ""


@pytest.mark.parametrize("given", [None, 5, b"a", "a\0b", "x" * 300, "x" * 10_000, ["a"]])
def test_what_is_no_path(given):
    model = tiny_model()
    for act in (VisionEncoderDecoderModel.from_pretrained, model.save_pretrained):
        with pytest.raises(CheckpointError, match="; expected a path|cannot be made a folder"):
            act(given)
    with pytest.raises(CheckpointError):
        model.config.save_pretrained(given)


@pytest.mark.parametrize("target", ["loop", "loop/inner", "file"])
def test_targets_that_can_be_no_folder(tmp_path, target):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made a folder|expected a path"):
        tiny_model().save_pretrained(tmp_path / target)
