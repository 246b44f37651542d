"""Model cards: what is kept of a source, what is added, and that nobody's own words are lost."""

import re

import pytest
from huggingface_hub import ModelCard

from mlx_vedec import convert, load
from mlx_vedec.checkpoints.hub import fetch
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.conversion import card_text, front_matter
from mlx_vedec.conversion.model_card import MARK, FolderCard, Origin, leave
from mlx_vedec.conversion.upload import planned, upload
from mlx_vedec.errors import CheckpointError, OptionError
from mlx_vedec.layers.packed import bits_per_weight
from mlx_vedec.reading.load import BUNDLED
from tests.conversion.test_upload import FILES, REPO, TOKEN, contents, folder, received, server  # noqa: F401
from tests.support.hub_server import Repo, commit_of

SOURCE = """\
---
# of the authors
license: other
license_name: house
language: [en, no]
tags: [trocr, pytorch, image-to-text]
datasets: [some/lines]
base_model: old/base
base_model_relation: finetune
model-index: []
inference: false
---
# Theirs
"""


def planned_card(folder, **origin):  # noqa: F811
    return ModelCard(planned(folder, REPO, Origin(**origin)).card)


def values_of(card):
    return card.data.to_dict()


# front matter


def test_words_are_words():
    """YAML 1.1 has `no` and `2026-01-01` for false and a date; the Hub, by 1.2, has not."""
    text = "---\nlanguage: no\nyes: on\ntrue_one: true\ndate: 2026-01-01\nn: 3\n---\nbody\n"
    expected = {"language": "no", "yes": "on", "true_one": True, "date": "2026-01-01", "n": 3}
    assert front_matter.split(text) == (expected, "body\n")
    again = front_matter.joined(expected, "body\n")
    assert front_matter.split(again) == (expected, "body\n")
    assert ModelCard(again).data.to_dict() == expected  # which reads 1.1


@pytest.mark.parametrize("text", ["", "# Title\n", "text\n---\na: 1\n---\n", "---\nno end\n"])
def test_cards_without_front_matter(text):
    assert front_matter.split(text) == ({}, text)
    card = front_matter.completed(text, {"license": "mit"})
    assert card.endswith(text) and front_matter.split(card)[0] == {"license": "mit"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_completing_changes_no_letter(start, end):
    text = f"{start}---\n# mine\nlicense:   'mit'\n---\n\nWords --- and more.\n---\n".replace(
        "\n", end
    )
    card = front_matter.completed(text, {"tags": ["mlx"]})
    more = f"tags:{end}- mlx{end}"
    assert card.replace(more, "") == text and card.count(more) == 1
    assert front_matter.split(card)[0] == {"license": "mit", "tags": ["mlx"]}
    assert front_matter.completed(text, {}) == text


@pytest.mark.parametrize(
    "block", ["a: [", "!!python/object/apply:os.system ['false']", "a: &a [*b]", "[" * 500]
)
def test_front_matter_that_is_not_yaml(block):
    with pytest.raises(CheckpointError, match="front matter of README is not YAML .*; mend"):
        front_matter.split(f"---\n{block}\n---\n", "README")


def test_front_matter_that_is_a_list():
    with pytest.raises(CheckpointError, match="is a list; expected keys and values"):
        front_matter.split("---\n- a\n---\n")


# what convert leaves


def test_left_of_a_hub_id(tmp_path):
    """Licence, language and tags of the source's card; its id as the base, and the commit."""
    source = tmp_path / ("0" * 40)
    source.mkdir()
    (source / "README.md").write_text(SOURCE)
    leave(tmp_path, source, "base/ocr")
    assert FolderCard.read(tmp_path).values == {
        "license": "other",
        "license_name": "house",
        "language": ["en", "no"],
        "datasets": ["some/lines"],
        "tags": ["trocr", "image-to-text"],
        "base_model": "base/ocr",
        "base_model_relation": "quantized",
        "base_model_revision": "0" * 40,
    }
    assert FolderCard.read(tmp_path).ours


def test_left_of_a_folder(tmp_path):
    """A folder has no id: what its card says of its base holds of the new model as well."""
    source = tmp_path / "source"
    source.mkdir()
    leave(tmp_path, source, source)
    assert not (tmp_path / "README.md").exists()
    (source / "README.md").write_text("---\na: [\n---\n")
    leave(tmp_path, source, source)
    assert not (tmp_path / "README.md").exists()
    (source / "README.md").write_text(SOURCE)
    leave(tmp_path, source, source)
    values = FolderCard.read(tmp_path).values
    assert (values["base_model"], values["base_model_relation"]) == ("old/base", "finetune")


def test_left_of_what_was_trained(tmp_path):
    source = tmp_path / ("0" * 40)
    source.mkdir()
    leave(tmp_path, source, "base/ocr", tuned=True)
    assert FolderCard.read(tmp_path).values["base_model_relation"] == "finetune"


def test_convert_then_upload_without_the_source(server, tmp_path, monkeypatch):  # noqa: F811
    """What a conversion leaves is enough; the base model's card is not asked for again."""
    files = {name: (BUNDLED / name).read_bytes() for name in FILES}
    server.repos["base/ocr"] = Repo({"main": {**files, "README.md": SOURCE.encode()}})
    made = convert("base/ocr", tmp_path / "made", quantize=8)
    del server.repos["base/ocr"]
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    said = []
    upload(made, REPO, say=said.append)
    assert said == [f"made {REPO}"]
    card = ModelCard(received(server)["README.md"].decode())
    values = values_of(card)
    assert values["base_model"] == "base/ocr" and values["license"] == "other"
    assert values["base_model_revision"] == commit_of("main")
    assert f"(https://huggingface.co/base/ocr) (commit {commit_of('main')})" in card.text
    assert contents(fetch(REPO)) == contents(made)
    again = convert(made, tmp_path / "floats", dequantize=True)
    assert FolderCard.read(again).values["base_model"] == "base/ocr"


def test_a_base_models_card_is_looked_up(server, folder, monkeypatch):  # noqa: F811
    """Where no licence is known here; that it cannot be had is told, and no more."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.repos["base/ocr"] = Repo({"main": {"README.md": SOURCE.encode()}})
    upload(folder, REPO, base_model="base/ocr")
    values = values_of(ModelCard(received(server)["README.md"].decode()))
    assert values["license_name"] == "house" and "trocr" in values["tags"]
    said = []
    upload(folder, REPO, base_model="base/other", license="mit", say=said.append)
    assert not said
    (folder / "README.md").unlink()
    upload(folder, REPO, base_model="base/other", say=said.append)
    assert said[0] == "the card of base/other was not read (RepositoryNotFoundError)"


# front matter of what is uploaded


def test_of_a_folder_that_says_nothing(folder):  # noqa: F811
    assert values_of(planned_card(folder)) == {
        "library_name": "mlx",
        "pipeline_tag": "image-to-text",
        "tags": ["mlx", "mlx-vedec", "vision-encoder-decoder", "image-to-text", "ocr"],
    }


def test_relations(folder, tmp_path):  # noqa: F811
    def relation(folder, **origin):  # noqa: F811
        return values_of(planned_card(folder, **origin)).get("base_model_relation")

    assert relation(folder, base_model="a/b") == "finetune"
    assert relation(folder, base_model="a/b", relation="quantized") == "quantized"
    assert relation(folder, relation="quantized") is None
    packed = convert(BUNDLED, tmp_path / "packed", quantize=8)
    assert relation(packed, base_model="a/b") == "quantized"
    (folder / "README.md").write_text("---\nbase_model: [a/b, c/d]\n---\n")
    assert relation(folder) == "merge"
    (folder / "README.md").write_text("---\nbase_model: a/b\nbase_model_relation: quantized\n---\n")
    assert relation(folder) == "quantized"


def test_tags_that_are_no_words_fall_away(folder):  # noqa: F811
    (folder / "README.md").write_text(f"---\ntags: [mine, {{a: b}}, 3]\n---\n{MARK}\n")
    assert values_of(planned_card(folder))["tags"][-2:] == ["ocr", "mine"]


def test_another_base_model_takes_nothing_of_the_first(folder):  # noqa: F811
    leave(folder, folder, "a/b")
    kept = values_of(planned_card(folder, base_model="a/b"))
    assert kept["base_model_relation"] == "quantized" and "base_model_revision" in kept
    changed = values_of(planned_card(folder, base_model="c/d"))
    assert changed["base_model_relation"] == "finetune" and "base_model_revision" not in changed


def test_a_card_that_somebody_wrote_is_kept(folder):  # noqa: F811
    (folder / "README.md").write_text(SOURCE)
    plan = planned(folder, REPO, Origin(base_model="old/base"))
    added = "library_name: mlx\npipeline_tag: image-to-text\n"
    assert plan.card == SOURCE.replace("inference: false\n", f"inference: false\n{added}")
    assert plan.notes == ("README.md is kept; its front matter gains library_name, pipeline_tag",)
    message = "base_model is given as a/b, but README.md says old/base; change the file, or leave"
    with pytest.raises(OptionError, match=message):
        planned(folder, REPO, Origin(base_model="a/b"))


def test_a_card_of_ours_is_written_anew(folder):  # noqa: F811
    first = planned(folder, REPO, Origin(license="mit")).card
    (folder / "README.md").write_text(first.replace("# name", "# Changed"))
    assert planned(folder, REPO).card == first and MARK in first
    (folder / "README.md").write_text(first.replace("# name", "# Changed").replace(MARK, ""))
    assert "# Changed" in planned(folder, REPO).card


def test_what_a_card_cannot_be(folder):  # noqa: F811
    with pytest.raises(OptionError, match="base_model is 'name'; expected a Hub id, owner/name"):
        Origin("name")
    with pytest.raises(OptionError, match="is 'child'; expected one of quantized, finetune"):
        Origin("a/b", "child")
    (folder / "README.md").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match="is not UTF-8 text; mend or delete it"):
        planned(folder, REPO)


# the text


def test_the_table_adds_up():
    """Sizes are those of the parameters, and bits those of each format with its scales."""
    model, _ = load(BUNDLED, dtype="float16", quantize=4)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _table(model)]
    *formats, floats, together = rows
    layers = sum(int(row[1]) for row in formats)
    assert layers == 51 and [row[0] for row in formats] == [
        "affine, 4 bits in groups of 64",
        "affine, 6 bits in groups of 64",
    ]
    assert [row[2] for row in formats] == ["4.50", "6.50"]  # a scale and an offset per 64
    size = sum(x.nbytes for x in parameters(model).values()) / 1e6
    assert together[2:] == [f"{bits_per_weight(model):.2f}", f"{size:.1f}"]
    assert sum(float(row[3]) for row in (*formats, floats)) == pytest.approx(size, abs=0.15)
    assert floats[0] == "floats (float16)"


def _table(model):
    text = card_text.text(REPO, model, {})
    assert "mlx_vedec convert --model owner/name --mlx-path floats --dequantize" in text
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def test_floats_need_no_way_back(folder):  # noqa: F811
    text = planned_card(folder).text
    assert "dequantize" not in text and "which" not in text.split("## Use")[0]
    assert "ones that transformers reads too" in text and "| floats (float32) | all |" in text


def test_what_was_measured(folder):  # noqa: F811
    values = '{"texts_unchanged": 0.98500001, "changed": {"bytes": 12, "error_rate": null}, '
    values += '"texts": [{"image": "/home/me/a.png"}], "note": "a | b\\nc"}'
    (folder / "verification.json").write_text(values)
    rows = [line for line in planned_card(folder).text.splitlines() if line.startswith("|")][3:]
    assert rows[2:] == [
        "| texts unchanged | 0.985 |",
        "| changed, bytes | 12 |",
        "| texts | 1 |",
        "| note | a \\| b c |",
    ]


def test_the_code_of_a_card_runs(server, tmp_path, monkeypatch):  # noqa: F811
    """From the Hub that it was put on, as a reader of the page would."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    made = convert(BUNDLED, tmp_path / "made", quantize=8)
    upload(made, REPO)
    (code,) = re.findall(r"```python\n(.*?)```", (made / "README.md").read_text(), re.DOTALL)
    line = "tests/data/lines/seen_006.png"
    printed = []
    exec(code.replace("image.png", line), {"print": printed.append})
    assert printed == ["wheel 206,3"]
