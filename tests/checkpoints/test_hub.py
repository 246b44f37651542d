"""Folders and Hub ids; nothing here reaches the network, a Hub of our own stands in."""

import json

import mlx.core as mx
import pytest

from mlx_vedec import (
    Processor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    convert,
    load,
)
from mlx_vedec.checkpoints import hub
from mlx_vedec.errors import CheckpointError, OptionError, WeightsError
from tests.support.hub_server import Repo, commit_of, serve
from tests.support.tiny import pixels, tiny_config, tiny_model

TEXTS = {
    name: name.encode()
    for name in (
        *("README.md", "config.json", "vocab.json", "merges.txt", "spiece.model"),
        "tokenizer.json",
    )
}
UNUSED = dict.fromkeys(
    [
        *("LICENSE", "modeling.py", "tf_model.h5", "flax_model.msgpack", "model.onnx"),
        *("onnx/config.json", "checkpoint-1/model.safetensors", "training_args.bin"),
        *("model.fp16.safetensors", "optimizer.pt", "rng_state.pth"),
    ],
    b"not for us",
)
SAFE, PICKLE = {"model.safetensors": b"safe"}, {"pytorch_model.bin": b"pickle"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    with serve() as stand_in:
        stand_in.take_the_place(monkeypatch, tmp_path)
        yield stand_in


def offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def names(folder):
    return {path.name for path in folder.iterdir()}


def failure(*arguments):
    with pytest.raises(CheckpointError) as caught:
        hub.fetch(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_is_itself(tmp_path):
    assert hub.fetch(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "/no/such", "a b/c", "owner/"])
def test_what_is_neither(name):
    assert "neither a folder nor a Hub id" in failure(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_text("x")
    assert "is a file; expected a checkpoint's folder" in failure(tmp_path / "model.safetensors")


def test_an_empty_folder_and_one_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json; it holds nothing"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)
    tiny_model().config.save_pretrained(tmp_path)
    message = r"no model\.safetensors or pytorch_model\.bin; it holds config\.json"
    with pytest.raises(CheckpointError, match=message):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)


# downloads


def test_safetensors_are_enough(server):
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **UNUSED, **SAFE, **PICKLE}})
    assert names(hub.fetch("owner/name")) == set(server.sent) == {*TEXTS, *SAFE}


def test_pickles_where_there_is_nothing_else(server):
    """The second request is for the commit that the first one found."""
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **UNUSED, **PICKLE}})
    folder = hub.fetch("owner/name")
    assert folder.name == commit_of("main")
    assert names(folder) == {*TEXTS, *PICKLE} and len(server.sent) == len(TEXTS) + 1


@pytest.mark.parametrize(
    "stem", ["model-0000{}-of-00002.safetensors", "pytorch_model-0000{}-of-00002.bin"]
)
def test_shards_come_with_their_index(server, stem):
    kind = stem.split("-")[0] + "." + stem.split(".")[-1]
    files = {name: name.encode() for name in (stem.format(1), stem.format(2), f"{kind}.index.json")}
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **UNUSED, **files}})
    assert names(hub.fetch("owner/name")) == {*TEXTS, *files}


def test_a_pull_request_that_has_safetensors(server):
    """As of microsoft/trocr-large-handwritten, whose main branch has a pickle only."""
    pull = {**TEXTS, **SAFE, **PICKLE}
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **PICKLE}, "refs/pr/6": pull})
    assert names(hub.fetch("owner/name", "refs/pr/6")) == {*TEXTS, *SAFE}
    assert hub.fetch("owner/name", commit_of("main")).name == commit_of("main")


def test_a_model_is_loaded_by_its_id(server, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    server.repos["owner/name"] = Repo({"refs/pr/3": files})
    again = VisionEncoderDecoderModel.from_pretrained("owner/name", revision="refs/pr/3")
    assert mx.array_equal(again.encode(pixels()), model.encode(pixels()))


def test_the_cache_serves_without_a_network(server, monkeypatch):
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **PICKLE}})
    folder, sent = hub.fetch("owner/name"), list(server.sent)
    assert hub.fetch("owner/name") == folder and server.sent == sent
    server.broken = True
    assert hub.fetch("owner/name") == folder
    offline(monkeypatch)
    assert hub.fetch("owner/name") == folder


# without the weights


def files_of(model, folder, **options):
    model.save_pretrained(folder, **options)
    load()[1].save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def said(*arguments, **options):
    lines = []
    hub_or_folder, target = arguments
    convert(hub_or_folder, target, say=lines.append, dry_run=True, **options)
    assert not target.exists()
    return lines


def test_config_and_processor_come_without_the_weights(server, tmp_path):
    files = files_of(tiny_model(), tmp_path / "model")
    server.repos["owner/name"] = Repo({"main": files})
    config = VisionEncoderDecoderConfig.from_pretrained("owner/name")
    assert config.to_dict() == json.loads(files["config.json"])
    assert Processor.from_pretrained("owner/name").tokenizer.eos_token_id == 2
    assert set(server.sent) == files.keys() - SAFE.keys()
    VisionEncoderDecoderModel.from_pretrained("owner/name")
    assert set(server.sent) == files.keys()


@pytest.mark.parametrize("size", [10**9, 20_000])
def test_a_dry_run_reads_the_heads_of_the_files(server, tmp_path, size):
    """What is said is what is said of the folder; weights in the cache are looked at there."""
    files = files_of(tiny_model(), tmp_path / "model", max_shard_size=size)
    server.repos["owner/name"] = Repo({"refs/pr/3": files})
    for change in ({"quantize": 4}, {"dtype": "float16"}, {}):
        found = said("owner/name", tmp_path / "out", revision="refs/pr/3", **change)
        assert found == said(tmp_path / "model", tmp_path / "out", **change)
    shards = {name for name in files if name.endswith(".safetensors")}
    assert not shards & {*server.sent}
    assert {f"{name} bytes=0-100000" for name in shards} <= {*server.sent}
    VisionEncoderDecoderModel.from_pretrained("owner/name", revision="refs/pr/3")
    before = len(server.sent)
    assert shards <= {*server.sent}
    assert said("owner/name", tmp_path / "out", revision="refs/pr/3") == found
    assert len(server.sent) == before


def test_a_dry_run_is_as_strict(server, tmp_path):
    files = files_of(tiny_model(), tmp_path / "model")
    files["config.json"] = json.dumps(tiny_config(decoder={"vocab_size": 40}).to_dict()).encode()
    server.repos["owner/name"] = Repo({"main": files})
    with pytest.raises(WeightsError, match="decoder.vocab_size=37 in the config would fit"):
        said("owner/name", tmp_path / "out")
    with pytest.raises(OptionError, match="is not quantized; there is nothing to dequantize"):
        said("owner/name", tmp_path / "out", dequantize=True, config={"decoder.vocab_size": 37})


def test_a_dry_run_of_pickles(server, tmp_path):
    files = files_of(tiny_model(), tmp_path / "model")
    del files["model.safetensors"]
    server.repos["owner/name"] = Repo({"main": {**files, **PICKLE}})
    lines = said("owner/name", tmp_path / "out", quantize=4)
    assert lines == [
        "the weights of owner/name are pickles, which have to be downloaded to say more"
    ]
    assert "pytorch_model.bin" not in server.sent


def test_a_dry_run_of_numbers_of_no_known_type(server, tmp_path):
    files = files_of(tiny_model(), tmp_path / "model")
    files["model.safetensors"] = files["model.safetensors"].replace(b'"F32"', b'"F64"')
    server.repos["owner/name"] = Repo({"main": files})
    with pytest.raises(WeightsError, match="of type F64; known are BOOL, U8, "):
        said("owner/name", tmp_path / "out")


def test_a_dry_run_where_the_heads_are_refused(server, tmp_path, monkeypatch):
    files = files_of(tiny_model(), tmp_path / "model")
    server.repos["owner/name"] = Repo({"main": files})
    Processor.from_pretrained("owner/name")
    server.broken = True
    with pytest.raises(CheckpointError, match="owner/name is not"):
        said("owner/name", tmp_path / "out")


def test_a_folder_without_weights_has_no_dry_run(tmp_path):
    files_of(tiny_model(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors or pytorch_model\.bin"):
        said(tmp_path / "model", tmp_path / "out")


# refusals


def test_no_such_repository(server):
    message = failure("owner/name")
    assert "the Hub has no owner/name, or it is private" in message and "hf auth login" in message


def test_no_such_revision(server):
    server.repos["owner/name"] = Repo({"main": TEXTS})
    message = failure("owner/name", "refs/pr/9")
    assert message.startswith("owner/name has no revision refs/pr/9;")
    assert f"{server.endpoint}/owner/name/tree/main" in message


def test_a_gated_repository_opens_to_those_who_are_logged_in(server, monkeypatch):
    server.repos["owner/name"] = Repo({"main": {**TEXTS, **SAFE}}, gated=True)
    message = failure("owner/name")
    assert f"is gated: accept its conditions at {server.endpoint}/owner/name" in message
    assert not server.sent
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    assert names(hub.fetch("owner/name")) == {*TEXTS, *SAFE}


def test_no_network(server, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port that none serves
    message = failure("owner/name")
    assert "the Hub cannot be reached" in message and "ConnectError" in message
    assert "or give a folder" in message


def test_a_hub_that_is_down(server):
    server.broken = True
    assert "the Hub cannot be reached (" in failure("owner/name")


def test_offline_and_not_in_the_cache(server, monkeypatch):
    offline(monkeypatch)
    message = failure("owner/name")
    assert "HF_HUB_OFFLINE forbids to download it: unset that, or give a folder" in message


def test_an_id_that_the_hub_does_not_allow(server):
    assert "could not be had from the Hub: Cannot have -- or .." in failure("owner/a--b")


def test_an_error_without_words(monkeypatch):
    import huggingface_hub

    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert failure("owner/name").endswith("could not be had from the Hub: OSError()")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="there is no folder .*none; give the one that has"):
        hub.required(tmp_path / "none", "adapter_config.json")
