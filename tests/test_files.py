"""Files are written beside and renamed last: a failure leaves the old one and nothing else."""

import json
import os

import pytest

from mlx_vedec.files import near, seen, staged, write_file, write_json


def test_files_come_into_their_places_together_and_in_order(tmp_path, monkeypatch):
    (tmp_path / "b.json").write_text("old")
    renamed, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: renamed.append(b.name) or replace(a, b))
    with staged(tmp_path) as beside:
        for name in ("b.json", "a.bin"):
            path = beside(name)
            assert path.parent == tmp_path and path.name.startswith(".")
            assert path.suffix == name[1:]
            path.write_text("new")
        assert (tmp_path / "b.json").read_text() == "old" and not renamed
    assert renamed == ["b.json", "a.bin"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.bin": "new",
        "b.json": "new",
    }


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def write(path):
        path.write_text("half of")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_file(tmp_path / "a.txt", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_is_indented_sorted_and_in_utf_8(tmp_path):
    write_json(tmp_path / "a.json", {"b": {"d": 1, "c": 2}, "a": "é"})
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert text == '{\n  "a": "é",\n  "b": {\n    "c": 2,\n    "d": 1\n  }\n}\n'
    assert json.loads(text) == {"b": {"d": 1, "c": 2}, "a": "é"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("lines/seen_06.png", "did you mean {}/lines/seen_006.png?"),
        ("lines/zzz", "{}/lines holds seen_006.png"),
        ("empty/zzz", "{}/empty holds nothing"),
        ("liens/deep/zzz", "there is no folder {}/liens"),
        ("x" * 300, "{} holds empty, lines"),
        ("a\0b", "{} holds empty, lines"),
        ("x" * 300 + "/y", "no such path can be"),
    ],
)
def test_what_is_near_a_path_that_is_not_there(tmp_path, path, said):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "seen_006.png").write_text("")
    (tmp_path / "empty").mkdir()
    assert near(tmp_path / path) == said.format(tmp_path)


def test_of_many_names_the_first_are_told(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02}.png").write_text("")
    assert seen(tmp_path).endswith(", 06.png, 07.png and 4 more")
