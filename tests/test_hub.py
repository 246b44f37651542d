"""Folders and Hub ids; nothing here reaches the network."""

import pytest

from mlx_vedec import VisionEncoderDecoderModel, hub
from mlx_vedec.errors import CheckpointError
from tests.tiny import pixels, tiny_model


def test_a_folder_is_itself(tmp_path):
    assert hub.fetch(tmp_path) == tmp_path


def test_a_hub_id_is_downloaded_with_its_revision(tmp_path, monkeypatch):
    import huggingface_hub

    tiny_model().save_pretrained(tmp_path)
    calls = []

    def download(repo, *, revision, allow_patterns):
        calls.append((repo, revision))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = VisionEncoderDecoderModel.from_pretrained("owner/name", revision="refs/pr/3")
    assert calls == [("owner/name", "refs/pr/3")]
    assert model.encode(pixels()).shape == (2, 17, 24)


@pytest.mark.parametrize("name", ["no/such/folder", "nowhere", "/no/such", "a b/c", "owner/"])
def test_what_is_neither(name):
    with pytest.raises(CheckpointError, match="neither a folder nor a Hub id"):
        hub.fetch(name)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "model.safetensors").write_text("x")
    with pytest.raises(CheckpointError, match="is a file; expected a checkpoint's folder"):
        hub.fetch(tmp_path / "model.safetensors")


def test_the_hub_out_of_reach(monkeypatch, tmp_path):
    import huggingface_hub

    def fail(*_, **__):
        raise OSError("Connection refused\nTraceback ...")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        hub.fetch("owner/name")
    assert str(caught.value).endswith("could not be had from the Hub: Connection refused")


def test_an_empty_folder_and_one_without_weights(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json; it holds nothing"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)
    tiny_model().config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors; it holds config\.json"):
        VisionEncoderDecoderModel.from_pretrained(tmp_path)
