"""Files are written beside and renamed last: a failure leaves the old one and nothing else."""

import errno
import json
import os
import shutil
import stat
from functools import cache

import mlx.core as mx
import pytest

from mlx_vedec import files, load
from mlx_vedec.adapters.files import write_adapters
from mlx_vedec.errors import CheckpointError
from mlx_vedec.files import finish, near, seen, staged, write_file, write_json, write_tensors
from mlx_vedec.training.state import publish
from tests.support.killing import DEAD, Killed, killed_at


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
    assert renamed == [".unfinished", "b.json", "a.bin"]
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


def three_files(folder, text):
    """Write three that belong together, in place of three, and take a fourth away."""
    with staged(folder) as beside:
        for name in ("a.bin", "b.json", "config.json"):
            beside(name).write_text(text)
        beside.removed += ["d.bin"]


def found(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


OLD = {"a.bin": "old", "b.json": "old", "config.json": "old", "d.bin": "old", "mine.txt": "own"}
NEW = {"a.bin": "new", "b.json": "new", "config.json": "new", "mine.txt": "own"}


def test_killed_at_any_step_all_are_old_or_all_are_new(tmp_path, monkeypatch):
    """A reader of ours brings it to its end; to others what is mixed lacks the last file."""
    seen = []
    for step in range(30):
        folder = tmp_path / str(step)
        folder.mkdir()
        for name, text in OLD.items():
            (folder / name).write_text(text)
        with monkeypatch.context() as patched, killed_at(patched, step) as steps:
            three_files(folder, "new")
        there = {name: text for name, text in found(folder).items() if not name.startswith(".")}
        assert there in (OLD, NEW) or "config.json" not in there
        finish(folder)
        there = {name: text for name, text in found(folder).items() if not name.startswith(".")}
        assert there in (OLD, NEW)
        seen.append(there == NEW)
        write_file(folder / "e.txt", lambda path: path.write_text("next"))
        assert found(folder) == {**there, "e.txt": "next"}, "what the dead process left is gone"
        if steps.done < step:
            break
    assert step > 6 and seen == sorted(seen) and not seen[0] and seen[-1]


def test_leftovers_of_the_living_and_of_others_stay(tmp_path):
    names = (
        f".a.{os.getpid()}.0.{files.HOST}.txt",  # of a process that writes now
        f".a.{DEAD}.0.00000000.txt",  # of another machine
        f".a.{DEAD}.txt",  # not ours
        ".notes.2024.txt",
    )
    for name in (*names, f".a.{DEAD}.0.{files.HOST}.txt", f".b.{DEAD}.7.{files.HOST}"):
        (tmp_path / name).write_text("")
    write_json(tmp_path / "a.json", {})
    assert {*found(tmp_path)} == {*names, "a.json"}


@pytest.mark.parametrize(
    "journal",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"renamed": {".a": "b"}, "removed": []}',
        '{"renamed": {}, "removed": ["../b"]}',
        f'{{"renamed": {{".a.1.0.{files.HOST}": "/etc/b"}}, "removed": []}}',
        '{"renamed": {}, "removed": [7]}',
    ],
)
def test_a_journal_of_others_does_nothing(tmp_path, journal):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / ".a").write_text("")
    (tmp_path / "b").write_text("")
    (inner / ".unfinished").write_text(journal)
    for act in (lambda: finish(inner), lambda: write_json(inner / "c.json", {})):
        with pytest.raises(CheckpointError, match="unfinished is not what this package leaves"):
            act()
    assert (tmp_path / "b").exists() and {*found(inner)} == {".a", ".unfinished"}


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json is a folder; expected a file there"):
        three_files(tmp_path, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_errors_name_the_file(tmp_path):
    """Also where the system names none, as of a full disk, or the file beside its place."""
    for error in (OSError(errno.ENOSPC, "No space left"), OSError("No space left")):

        def write(path, error=error):
            raise error

        with pytest.raises(OSError, match=r"No space left.*a\.txt|a\.txt: No space left"):
            write_file(tmp_path / "a.txt", write)
    with pytest.raises(FileNotFoundError, match=r"no.json'$"):
        write_file(tmp_path / "no.json", lambda path: None)
    with pytest.raises(IsADirectoryError, match=r"b\.txt'$"):
        write_file(tmp_path / "b.txt", lambda path: path.mkdir() or path.write_text(""))
    with pytest.raises(OSError, match="/missing"):
        write_tensors(tmp_path / "missing" / "x.safetensors", {"x": mx.zeros(2)})


def test_a_long_name_has_room_for_what_is_beside_it(tmp_path):
    name = "é" * 120 + ".txt"
    write_file(tmp_path / name, lambda path: path.write_text("x"))
    assert found(tmp_path) == {name: "x"}


def test_the_mode_is_that_of_new_files(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b").touch()
    a, b = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "b"))
    assert a == b


def test_a_killed_process_is_simulated(tmp_path, monkeypatch):
    """After its death nothing that it does reaches the disk, the cleaning up included."""
    with (
        pytest.raises(Killed),
        monkeypatch.context() as patched,
        killed_at(patched, 0, swallow=False),
    ):
        write_json(tmp_path / "a.json", {})
    assert not found(tmp_path)


@cache
def bundled_processor():
    return load()[1]


def processor(folder, text):
    found = bundled_processor()
    found.image_processor.extra["note"] = found.tokenizer.config["note"] = text
    found.save_pretrained(folder)


def adapters(folder, text):
    values = mx.full((2,), float(text == "new"))
    write_adapters(folder / "adapters.safetensors", {"x": values}, {"note": text}, "mlx")


def published(folder, text):
    publish(lambda new: [(new / name).write_text(text) for name in ("a", "b", "c")], folder)


@pytest.mark.parametrize("save", [processor, adapters, published])
def test_what_is_saved_together_is_together_after_a_kill(tmp_path, monkeypatch, save):
    """A processor's files, an adapter's, and what a training publishes."""
    contents = {}
    for text in ("old", "new"):
        save(tmp_path / text, text)
        contents[text] = {p.name: p.read_bytes() for p in (tmp_path / text).iterdir()}
    seen = []
    for step in range(40):
        folder = shutil.copytree(tmp_path / "old", tmp_path / f"{step}")
        with monkeypatch.context() as patched, killed_at(patched, step) as steps:
            save(folder, "new")
        finish(folder)
        there = {p.name: p.read_bytes() for p in folder.iterdir() if p.name[0] != "."}
        assert there in contents.values()
        seen.append(there == contents["new"])
        save(folder, "old")
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == contents["old"]
        if steps.done < step:
            break
    assert seen == sorted(seen) and not seen[0] and seen[-1]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("lines/seen_06.png", "did you mean seen_006.png?"),
        ("lines/zzz", "{}/lines holds seen_006.png"),
        ("empty/zzz", "{}/empty holds nothing"),
        ("liens/deep/zzz", "there is no folder {}/liens"),
        ("lines", "{} holds empty, lines"),
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


def test_a_failure_between_the_renames_keeps_what_was_written(tmp_path, monkeypatch):
    """The error is told, and the files that a journal names are there to go on with."""
    for name, text in OLD.items():
        (tmp_path / name).write_text(text)
    real, calls = os.replace, []

    def failing(source, place):
        calls.append(place)
        if len(calls) == 3:
            raise OSError(errno.EIO, "I/O error")
        real(source, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", failing)
        with pytest.raises(OSError, match="I/O error"):
            three_files(tmp_path, "new")
    finish(tmp_path)
    assert found(tmp_path) == NEW
