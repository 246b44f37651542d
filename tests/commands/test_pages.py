"""`mlx_vedec generate` for pages: what is printed, what is written, and bad input."""

import argparse
import json
import re
import shutil

import pytest

from mlx_vedec import commands
from mlx_vedec.commands import results
from mlx_vedec.pages.page import Page
from tests.pages.layouts import page_xml, printed, text_line, text_region

ONE, TWO = "Tea for two", "and rice"


@pytest.fixture
def run(capsys):
    """Run `generate` in this process: (exit code, stdout, stderr)."""

    def call(*argv):
        try:
            code = commands.main(["generate", *map(str, argv)])
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    printed(ONE, "", "", TWO).save(folder / "a.png")
    printed("second page").save(folder / "b.png")
    return folder


def layout(path, *lines):
    path.write_bytes(
        page_xml(text_region("r", *(lines or (text_line("l", "15,12 200,12 200,45 15,45"),))))
    )
    return path


@pytest.mark.slow
def test_pages_and_paragraphs_stand_apart(run, scans):
    printed(ONE, TWO, "", "end").save(scans / "a.png")
    code, out, err = run("--split-lines", "--image", scans)
    assert (code, out) == (0, f"{ONE}\n{TWO}\n\nend\n\f\nsecond page\n")
    first, second = err.splitlines()
    assert re.fullmatch(r"1/2 pages, [34] lines, \d+:\d\d left: .*a\.png", first)
    assert re.fullmatch(r"2/2 pages, 4 lines: .*b\.png", second)


def test_the_time_that_is_left(monkeypatch, capsys):
    """One of four pages took 20 s: the three others take a minute."""
    times = iter((0.0, 100.0, 120.0))
    monkeypatch.setattr(results.time, "monotonic", lambda: next(times))
    shown = results.Shown("program", 9, argparse.Namespace(verbose=False), {})
    shown.plan(4)
    shown.page(Page(name="a.png"))
    assert capsys.readouterr().err == "1/4 pages, 0 lines, 1:00 left: a.png\n"


def test_a_layout_beside_the_image_is_used(run, scans):
    layout(scans / "a.xml")
    assert run("--image", scans / "a.png")[:2] == (0, ONE + "\n")
    shutil.move(scans / "a.xml", scans / "elsewhere.xml")
    assert run("--image", scans / "a.png", "--layout", scans / "elsewhere.xml")[1] == ONE + "\n"


def test_a_layout_that_names_its_image(run, scans, tmp_path):
    data = layout(scans / "other.xml").read_bytes().replace(b"page.png", b"../scans/a.png")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "x.xml").write_bytes(data)
    assert run("--image", tmp_path / "xml" / "x.xml")[:2] == (0, ONE + "\n")


@pytest.mark.parametrize("name", ["page", "alto", "hocr", "tsv", "json", "markdown", "text"])
def test_formats_on_stdout(run, scans, name):
    code, out, _ = run("--image", scans / "a.png", "--format", name)
    assert code == 0 and ONE.split()[0] in out and out.endswith("\n")
    if name == "json":
        assert json.loads(out)["regions"][0]["lines"][0]["words"][0]["text"] == "Tea"
    if name in ("page", "alto", "hocr"):
        path = scans / f"out.{name}"
        path.write_text(out)
        assert [line.text for line in Page.from_file(path).lines] == [ONE, TWO]
        assert [word.text for word in Page.from_file(path).lines[0].words] == ONE.split()


@pytest.mark.slow
def test_json_of_many_pages(run, scans):
    code, out, _ = run("--image", scans, "--format", "json")
    assert [json.loads(line)["image"] for line in out.splitlines()] == ["a.png", "b.png"]
    rows = [
        json.loads(line)
        for line in run("--image", scans, "--split-lines", "--json")[1].splitlines()
    ]
    assert [row["text"] for row in rows] == [ONE, TWO, "second page"]


@pytest.mark.slow
def test_an_output_folder(run, scans, tmp_path):
    flags = ("--image", scans, "--output", tmp_path / "out", "--format", "alto")
    assert run(*flags)[:2] == (0, "")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.xml", "b.xml"]
    (tmp_path / "out" / "a.xml").write_text("mine")
    assert run(*flags)[:2] == (0, "")
    assert (tmp_path / "out" / "a.xml").read_text() == "mine"
    assert run(*flags, "--overwrite")[0] == 0
    assert Page.from_file(tmp_path / "out" / "a.xml").text


def test_the_model_is_named(run, scans, tmp_path):
    written = run("--image", scans / "a.png", "--format", "page")[1]
    assert 'type="processingStep"' in written and 'value="the bundled line reader"' in written


@pytest.mark.slow
def test_a_page_that_cannot_be_decoded_in_the_middle(run, scans, tmp_path):
    (scans / "aa.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, out, err = run("--image", scans, "--output", tmp_path / "out")
    assert code == 1 and err.count("error:") == 1 and "aa.png" in err
    found = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert found == ["a.txt", "b.txt", "errors.jsonl"]
    assert "aa.png" in (tmp_path / "out" / "errors.jsonl").read_text()
    code, out, err = run("--image", scans, "--split-lines")
    assert code == 1 and "second page" in out and "aa.png" in err


def test_lines_that_cannot_be_read(run, scans):
    layout(
        scans / "a.xml", text_line("two", "1,1 9,9"), text_line("l", "15,12 200,12 200,45 15,45")
    )
    code, out, err = run("--image", scans / "a.png")
    assert (code, out) == (0, ONE + "\n")
    assert "warning" in err and "line two has an outline of 2 points" in err


def test_bad_input(run, scans, tmp_path):
    def fails(said, *argv):
        code, out, err = run(*argv)
        assert (code, out) == (1, "") and said in err and err.count("\n") == 1, err

    (tmp_path / "file").write_text("")
    fails("file is a file; expected a folder", "--image", scans, "--output", tmp_path / "file")
    fails("give one of them", "--image", scans, "--output", "x", "--pages", "y")
    fails("--overwrite is for --output", "--image", scans, "--overwrite")
    fails("--format json", "--image", scans, "--json", "--format", "page")
    fails("a file for each of 2 pages", "--image", scans, "--format", "page")
    fails("matches no files", "--image", str(scans / "*.tif"), "--split-lines")
    fails("cannot be read", "--image", scans / "a.png", "--layout", scans / "none.xml")
    layout(scans / "a.xml")
    layout(scans / "a.alto.xml")
    fails("has 2 layouts", "--image", scans / "a.png", "--split-lines")
    (scans / "a.alto.xml").unlink()
    (scans / "a.xml").write_bytes(b'<!DOCTYPE a [<!ENTITY b "c">]><a/>')
    fails("document type", "--image", scans / "a.png", "--split-lines")
    (scans / "a.png").unlink()
    layout(scans / "a.xml")
    fails("names the image 'page.png', and neither", "--image", scans / "a.xml")
    printed().save(scans / "b.jpg")
    fails("would both be b.txt", "--image", scans, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_without_text(run, scans):
    printed().save(scans / "a.png")
    assert run("--image", scans / "a.png", "--split-lines") == (0, "", "")
