"""Uploads to a Hub of our own: what arrives, what is refused, and that no token is ever said."""

import json
import shutil
import traceback
import warnings

import pytest

from mlx_vedec import commands, generate, load, upload
from mlx_vedec.checkpoints import hub
from mlx_vedec.errors import CheckpointError, ConfigError, OptionError, WeightsError
from mlx_vedec.reading.load import BUNDLED
from tests.conftest import DATA
from tests.support.hub_server import Repo, serve
from tests.support.tiny import tiny_model

LINE = DATA / "lines" / "seen_006.png"
TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
REPO = "owner/name"
FILES = {
    *("config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
}
LOOSE = ["train.py", "pytorch_model.bin", ".netrc", "optimizer.safetensors", "adapters.safetensors"]
LOOSE += ["adapter_config.json", "secrets.json", "model-00001-of-00002.safetensors"]
ADAPTER = {"base_model_name_or_path": "base/ocr", "peft_type": "LORA"}


@pytest.fixture
def server(monkeypatch, tmp_path):
    with serve() as stand_in:
        stand_in.take_the_place(monkeypatch, tmp_path)
        yield stand_in


@pytest.fixture
def login(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def bundled(tmp_path):
    """The bundled model, without the page that is written about it."""
    made = tmp_path / "bundled"
    made.mkdir()
    for name in FILES:
        shutil.copy(BUNDLED / name, made)
    return made


@pytest.fixture
def folder(tmp_path):
    """A tiny model, with the bundled one's processor."""
    made = tmp_path / "mlx_model"
    tiny_model().save_pretrained(made)
    for name in FILES - {"config.json", "model.safetensors"}:
        shutil.copy(BUNDLED / name, made)
    return made


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def received(server, revision="main"):
    files = dict(server.repos[REPO].revisions[revision])
    files.pop(".gitattributes", None)
    return files


def failure(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        upload(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def run(capfd, *argv):
    code = commands.main(["upload", *map(str, argv)])
    return code, *capfd.readouterr()


# what arrives


def test_what_arrives_is_what_is_here(server, login, bundled):
    """Small files in the commit, large ones before it; a download reads as the folder does."""
    folder, said = bundled, []
    address = upload(folder, REPO, base_model="base/ocr", license="mit", say=said.append)
    assert address == f"{server.endpoint}/{REPO}"
    assert received(server) == contents(folder) and {*received(server)} == {*FILES, "README.md"}
    assert server.asked == ["create", "validate-yaml", "preupload", "batch", "store", "commit"]
    assert server.messages == ["Upload with mlx_vedec 0.1.0"]
    assert said == ["made owner/name"] and not server.repos[REPO].private
    again = hub.fetch(REPO)
    assert contents(again) == contents(folder)
    assert generate(*load(again), LINE).text == generate(*load(folder), LINE).text == "wheel 206,3"


def test_a_quantized_model_in_shards(server, login, tmp_path):
    model, processor = load(BUNDLED, dtype="float16", quantize=4)
    model.save_pretrained(tmp_path / "packed", max_shard_size=10**6)
    processor.save_pretrained(tmp_path / "packed")
    upload(tmp_path / "packed", REPO)
    assert received(server) == contents(tmp_path / "packed") and len(server.stored) > 3
    assert generate(*load(REPO), LINE).text == generate(*load(tmp_path / "packed"), LINE).text


def test_only_files_of_a_model(server, login, folder):
    for name in LOOSE:
        (folder / name).write_text("{}")
    (folder / "checkpoint-1").mkdir()
    for name in ("LICENSE", "verification.json", "verification.md"):
        (folder / name).write_text("{}")
    said = []
    upload(folder, REPO, say=said.append)
    expected = {*FILES, "README.md", "LICENSE", "verification.json", "verification.md"}
    assert {*received(server)} == expected
    assert said[0] == f"not uploaded: {', '.join(sorted([*LOOSE, 'checkpoint-1']))}"


def test_nothing_here_is_changed_but_the_card(server, login, folder):
    before = contents(folder)
    upload(folder, REPO)
    after = contents(folder)
    assert after.pop("README.md") == received(server)["README.md"] and after == before


def test_an_adapter(server, login, tmp_path):
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (tmp_path / "adapters" / "adapter_model.safetensors").write_bytes(bytes(20_000))
    (tmp_path / "adapters" / "train.py").write_text("")
    upload(tmp_path / "adapters", REPO)
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert {*received(server)} == names
    card = received(server)["README.md"].decode()
    assert "base_model: base/ocr\n" in card and "base_model_relation: adapter\n" in card


def test_private(server, login, folder):
    said = []
    upload(folder, REPO, private=True, say=said.append)
    assert server.repos[REPO].private and "made owner/name, private" in said
    upload(folder, REPO, private=True)
    server.repos[REPO].private = False
    message = failure(CheckpointError, folder, REPO, private=True)
    assert "owner/name is there and public, which an upload does not change" in message


def test_files_of_an_earlier_model_go(server, login, folder):
    """A single file of weights would be read in the place of new shards, or new files of old."""
    old = ["model-00001-of-00002.safetensors", "vocab.json", "verification.json"]
    others = [".gitattributes", "onnx/config.json", "pytorch_model.bin", "notes.txt"]
    server.repos[REPO] = Repo({"main": dict.fromkeys([*old, *others], b"old")})
    said = []
    upload(folder, REPO, say=said.append)
    assert {*server.repos[REPO].revisions["main"]} == {*FILES, "README.md", *others}
    assert said[-1] == f"removed from owner/name, as the folder has none: {', '.join(sorted(old))}"
    assert "create" not in server.asked


def test_a_branch_is_made_and_a_pull_request_opened(server, login, folder):
    assert upload(folder, REPO, revision="4bit").endswith("/owner/name/tree/4bit")
    assert {*received(server, "4bit")} == {*FILES, "README.md"} and not received(server)
    assert server.asked.count("branch") == 1
    address = upload(folder, REPO, create_pr=True, message="Half the size")
    assert address.endswith("/owner/name/discussions/1") and not received(server)
    assert received(server, "refs/pr/1") == contents(folder)
    assert server.messages[-1] == "Half the size"
    upload(folder, REPO, revision="4bit")
    assert server.asked.count("branch") == 1


def test_xet_is_handed_paths(server, login, folder, monkeypatch):
    """Where hf_xet is there, large files go its way: it takes paths, and reads no open files."""
    from huggingface_hub import _commit_api, constants

    def store(*, additions, **_):
        for one in additions:
            server.stored[one.upload_info.sha256.hex()] = open_and_read(one.path_or_fileobj)

    def open_and_read(path):
        assert isinstance(path, str)
        with open(path, "rb") as file:
            return file.read()

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(_commit_api, "is_xet_available", lambda: True)
    monkeypatch.setattr(_commit_api, "_upload_xet_files", store)
    upload(folder, REPO)
    assert received(server) == contents(folder) and "batch" not in server.asked


def test_without_xet(server, login, folder, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import _runtime

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setattr(_runtime, "is_package_available", lambda _: False)
    upload(folder, REPO)
    assert received(server) == contents(folder) and "store" in server.asked


# failures


def test_an_upload_that_breaks_off_is_started_again(server, login, folder, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the tries of huggingface_hub
    before = contents(folder)
    for verb in ("store", "commit"):
        server.refusals = {verb: None}
        message = failure(CheckpointError, folder, REPO)
        assert "owner/name was not written: " in message
        assert message.endswith("; the same upload can be started again")
        assert not received(server)
        assert {n: x for n, x in contents(folder).items() if n != "README.md"} == before
    server.refusals, server.asked = {}, []
    upload(folder, REPO)
    assert received(server) == contents(folder) and "store" not in server.asked


def test_no_network(server, login, folder, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the port that none serves
    assert "owner/name was not written: " in failure(CheckpointError, folder, REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert failure(CheckpointError, folder, REPO) == "HF_HUB_OFFLINE forbids to upload: unset it"
    assert not (folder / "README.md").exists()


def test_not_logged_in(server, folder):
    message = failure(CheckpointError, folder, REPO)
    assert message.startswith("not logged in to the Hub: log in with hf auth login")
    assert not server.asked


def test_another_model_is_not_written_over(server, login, folder):
    for text, name in ((b'{"model_type": "llama"}', "llama"), (b"[]", "None")):
        server.repos[REPO] = Repo({"main": {"config.json": text}})
        message = failure(CheckpointError, folder, REPO)
        assert message == (
            f"owner/name holds a model of type {name}, not vision-encoder-decoder; give another "
            "name"
        )
    assert not server.asked


@pytest.mark.parametrize(
    "repo", ["name", "a/b/c", "owner/a--b", "https://hub/owner/name", "", "a b/c"]
)
def test_names_that_are_none(folder, repo):
    assert failure(OptionError, folder, repo) == (
        f"{repo!r} is no name for a repository; expected owner/name"
    )


def test_folders_that_are_no_model(folder, tmp_path):
    assert "is not a folder; expected a model's" in failure(CheckpointError, LINE, REPO)
    (tmp_path / "empty").mkdir()
    message = failure(CheckpointError, tmp_path / "empty", REPO)
    assert "has no config.json; it holds nothing" in message
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = failure(CheckpointError, folder, REPO)
    assert "pickles, pytorch_model.bin, which are not uploaded; mlx_vedec convert" in message
    (folder / "pytorch_model.bin").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"bits": 4, "group_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    assert "has no model.safetensors or" in failure(CheckpointError, folder, REPO)
    tiny_model().save_pretrained(tmp_path / "bare")
    assert "has no preprocessor_config.json" in failure(CheckpointError, tmp_path / "bare", REPO)


def test_a_model_that_does_not_load_and_an_adapter_without_weights(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"short")
    assert "is not a safetensors file" in failure(WeightsError, folder, REPO)
    (folder / "config.json").write_text("{")
    assert "is not JSON" in failure(ConfigError, folder, REPO)
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")
    message = failure(CheckpointError, folder, REPO)
    assert "has no adapters.safetensors or adapter_model.safetensors" in message


# tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["create", "validate-yaml", "preupload", "batch", "store", "commit"]
)
def test_no_token_is_said(server, folder, tmp_path, monkeypatch, capfd, caplog, verb):
    """Not where the Hub's answer repeats it, nor in a traceback."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    (tmp_path / "token").write_text(TOKEN)
    said = ""
    for status in (400, 401, 403, 409, 500):
        server.refusals = {verb: (status, {"error": f"{TOKEN} is not welcome, Bearer {TOKEN}"})}
        if verb == "create" and status == 409:
            continue  # it is there already
        with pytest.raises(CheckpointError) as caught:
            upload(folder, REPO, say=lambda line: print(line))
        said += "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, out, err = run(capfd, "--path", folder, "--upload-repo", REPO)
    assert code == 1 and "mlx_vedec upload: error: " in err.splitlines()[-1]  # after a bar
    said += out + err + caplog.text
    assert "not welcome" in said and TOKEN not in said


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, "does not accept this login"), (403, "may not write to owner/name")],
)
def test_no_right_to_write(server, login, folder, status, expected):
    server.refusals = {"create": (status, {"error": "no"})}
    message = failure(CheckpointError, folder, REPO)
    assert expected in message and "hf auth login" in message
    server.refusals = {"create": (status, {"error": "no " * 5000})}
    assert len(failure(CheckpointError, folder, REPO)) < 600


def test_warnings_of_the_hub_are_told(server, login, folder):
    server.warnings = [{"message": f"no licence, {TOKEN}"}]
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upload(folder, REPO, say=said.append)
    assert any("- no licence, hf_…" in line for line in said)


# the command


def test_dry_run(folder, capfd):
    """Files with their sizes, then the card; no network, no login, and nothing is written."""
    before = contents(folder)
    code, out, err = run(capfd, "--path", folder, "--upload-repo", REPO, "--dry-run")
    assert code == 0 and contents(folder) == before
    listing, _, card = out.partition("\n\n---\n")
    sizes = {
        line.split()[1]: int(line.split()[0].replace(",", "")) for line in listing.splitlines()
    }
    total = sizes.pop("bytes")
    assert {n: sizes[n] for n in before} == {n: len(x) for n, x in before.items()}
    assert total == sum(sizes.values()) and {*sizes} == {*FILES, "README.md"}
    assert len(f"---\n{card}".encode()) == sizes["README.md"] + 1  # print's line end
    assert "the model's base is not known" in err


def test_the_command_prints_the_address(server, login, folder, capfd):
    flags = ["--base-model", "base/ocr", "--license", "mit", "--commit-message", "m"]
    code, out, err = run(
        capfd, "--path", folder, "--upload-repo", REPO, "--private", "--revision", "b", *flags
    )
    assert (code, out) == (0, f"{server.endpoint}/{REPO}/tree/b\n")
    assert "made owner/name, private" in err and server.messages == ["m"]
    flags = ["--base-model-relation", "quantized", "--create-pr"]
    code, out, _ = run(capfd, "--path", folder, "--upload-repo", REPO, *flags)
    assert (code, out) == (0, f"{server.endpoint}/{REPO}/discussions/1\n")
    assert b"base_model_relation: finetune" in received(server, "b")["README.md"]
    assert b"base_model_relation: quantized" in received(server, "refs/pr/1")["README.md"]


def test_errors_are_one_line(folder, capfd):
    code, out, err = run(capfd, "--path", folder, "--upload-repo", "name")
    assert (code, out) == (1, "")
    assert (
        err == "mlx_vedec upload: error: 'name' is no name for a repository; expected owner/name\n"
    )
