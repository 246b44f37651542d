"""Many pages into a folder: whole files, nothing twice, nothing lost."""

import json
from pathlib import Path

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.pages.bulk import Folder, read_to_folder
from mlx_vedec.pages.page import Page
from mlx_vedec.pages.sheets import all_sheets
from mlx_vedec.reading.load import load
from tests.pages.layouts import page_xml, printed, text_line, text_region
from tests.support.processes import two_processes


@pytest.fixture(scope="module")
def reader():
    return load()


@pytest.fixture
def scans(tmp_path):
    """Four pages, of which the third is no image."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in (1, 2, 4):
        printed(f"page {number}").save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no image")
    return folder


def run(reader, scans, results, *, layouts=None, **options):
    seen = []
    sheets = [(sheet, layouts) for sheet in all_sheets(scans)]
    bad = read_to_folder(
        *reader, sheets, results, done=lambda p: seen.append(p.name), boxes=False, **options
    )
    return bad, [Path(name).name for name in seen]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def errors(folder):
    return [json.loads(line) for line in (folder / "errors.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_file_for_each_page(reader, scans, tmp_path):
    out = tmp_path / "new" / "out"
    assert run(reader, scans, Folder(out, "page")) == (1, ["1.png", "2.png", "3.png", "4.png"])
    assert files(out) == ["1.xml", "2.xml", "4.xml", "errors.jsonl"]
    assert Page.from_file(out / "4.xml").text == "page 4"
    (note,) = errors(out)
    assert note["page"].endswith("3.png") and "no format Pillow knows" in note["error"]


@pytest.mark.slow
def test_what_is_there_is_left(reader, scans, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "2.txt").write_text("corrected by hand")
    assert run(reader, scans, Folder(out, "text"))[1] == ["1.png", "3.png", "4.png"]
    assert (out / "2.txt").read_text() == "corrected by hand"
    printed("three").save(scans / "3.png")
    assert run(reader, scans, Folder(out, "text")) == (0, ["3.png"])
    assert files(out) == ["1.txt", "2.txt", "3.txt", "4.txt"]  # and no errors any more
    assert run(reader, scans, Folder(out, "text")) == (0, [])
    assert len(run(reader, scans, Folder(out, "text", overwrite=True))[1]) == 4
    assert (out / "2.txt").read_text() == "page 2\n"


@pytest.mark.slow
def test_a_run_that_ends_early_leaves_whole_files(reader, scans, tmp_path):
    out = tmp_path / "out"

    def stop(page):
        raise KeyboardInterrupt

    sheets = [(sheet, None) for sheet in all_sheets(scans)]
    with pytest.raises(KeyboardInterrupt):
        read_to_folder(*reader, sheets, Folder(out, "json"), done=stop, boxes=False)
    assert files(out) == ["1.json"] and json.loads((out / "1.json").read_text())["text"] == "page 1"
    assert run(reader, scans, Folder(out, "json"))[1] == ["2.png", "3.png", "4.png"]


def test_bad_lines_are_noted(reader, scans, tmp_path):
    bad, good = text_line("bad", "1,1 2,2"), text_line("good", "15,12 200,12 200,45 15,45")
    (scans / "1.xml").write_bytes(page_xml(text_region("r", bad, good)))
    out = tmp_path / "out"
    assert run(reader, scans / "1.png", Folder(out, "text")) == (0, ["1.png"])
    assert (out / "1.txt").read_text() == "page 1\n"
    assert errors(out)[0]["line"] == "bad"


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OptionError, match="out is a file; expected a folder for results"):
        Folder(tmp_path / "out", "text")


@pytest.mark.parametrize("other", ["1.jpg", "1.PNG"])
def test_the_same_name_twice(scans, tmp_path, other):
    printed().save(scans / other)
    with pytest.raises(OptionError, match=r"1\.\w+ and .*1\.\w+ would both be 1.xml"):
        Folder(tmp_path / "out", "alto").missing(all_sheets(scans))
    assert not (tmp_path / "out").exists()


def test_one_page_named_twice(scans, tmp_path):
    with pytest.raises(OptionError, match="would both be"):
        Folder(tmp_path / "out", "alto").missing(all_sheets([scans, scans / "1.png"]))


def claimed(folder, *paths):
    """Whether each page that comes by itself keeps its file for its own."""
    return [folder.claimed(sheet) is sheet for path in paths for sheet in all_sheets([path])]


def test_a_file_stays_its_image_s_while_images_come_one_by_one(reader, scans, tmp_path):
    """One of the same stem is an error that names both, and a changed one is written anew."""
    out = Folder(tmp_path / "out", "text", overwrite=True)
    second = scans / "1.jpg"
    printed("another").save(second)
    assert claimed(out, scans / "1.png", second, scans / "2.png", scans / "1.png") == [1, 0, 1, 1]
    (page,) = [out.claimed(sheet) for sheet in all_sheets([second])]
    with pytest.raises(OptionError, match=r"1\.png and .*1\.jpg would both be 1\.txt"):
        page.load()
    (scans / "1.png").unlink()
    assert claimed(out, second) == [0]  # what was read in the other is still there


def test_a_file_that_was_there_is_that_of_an_image_beside(scans, tmp_path):
    (tmp_path / "1.txt").write_text("was read in 1.png before")
    printed("another").save(scans / "1.jpg")
    out = Folder(tmp_path, "text", overwrite=True)
    assert claimed(out, scans / "1.jpg", scans / "2.png", scans / "1.png") == [0, 1, 1]
    (tmp_path / "2.txt").write_text("was read in 2.png before")
    assert claimed(Folder(tmp_path, "text", overwrite=True), scans / "2.png") == [1]


def test_a_pdf_is_not_overwritten_by_its_own_text(tmp_path):
    (tmp_path / "scan.pdf").write_bytes(b"a scan")
    sheets = [*all_sheets([tmp_path / "scan.pdf"])]
    with pytest.raises(OptionError, match="scan.pdf would be overwritten"):
        Folder(tmp_path, "pdf", overwrite=True).missing(sheets)
    assert Folder(tmp_path, "pdf").missing(sheets) == []
    assert Folder(tmp_path, "text", overwrite=True).missing(sheets) == sheets


def test_shares():
    """Every page is in one share, and stays in it when files appear."""
    sheets = [s for n in range(7) for s in all_sheets([f"{n}.png"])]
    folder = Folder(Path("none"), "text")
    shares = [folder.missing(sheets, share=rank, of=3) for rank in range(3)]
    assert sorted(s.stem for share in shares for s in share) == [str(n) for n in range(7)]


@pytest.mark.slow
def test_pdfs(reader, tmp_path):
    """A PDF comes out as one, its text in it, or not at all."""
    pdfium = pytest.importorskip("pypdfium2")
    pytest.importorskip("pikepdf")
    from mlx_vedec.pages.layout import Layout
    from mlx_vedec.pages.pdf import to_pdf

    pages = [printed("page one"), printed("page two")]
    data = to_pdf([(Layout(size=page.size), page) for page in pages])
    (tmp_path / "doc.pdf").write_bytes(data)
    pages[0].save(tmp_path / "single.png")
    out = tmp_path / "out"
    sources = [tmp_path / "doc.pdf", tmp_path / "single.png"]
    assert run(reader, sources, Folder(out, "pdf"))[0] == 0
    assert files(out) == ["doc.pdf", "single.pdf"]
    with pdfium.PdfDocument(out / "doc.pdf") as document:
        texts = [page.get_textpage().get_text_range().strip() for page in document]
    assert texts == ["page one", "page two"]
    assert run(reader, sources, Folder(out, "pdf"))[1] == []


CHILD = """
import sys
import mlx.core as mx
from mlx_vedec.pages.bulk import Folder, read_to_folder
from mlx_vedec.pages.sheets import all_sheets
from mlx_vedec.reading.load import load
from pathlib import Path

scans, out, fail = sys.argv[1:]
group = mx.distributed.init(strict=True)

def done(page):
    print(Path(page.name).name, flush=True)
    if fail == str(group.rank()):
        import os
        os._exit(9)

sheets = [(sheet, None) for sheet in all_sheets(scans)]
read_to_folder(*load(), sheets, Folder(Path(out), "text"), group=group, done=done, boxes=False)
"""


def two(tmp_path, scans, fail=""):
    """What two processes of a ring read and end with."""
    ends = two_processes(tmp_path, "-c", CHILD, scans, tmp_path / "out", fail)
    return [(code, out.split(), error) for code, out, error in ends]


@pytest.mark.slow
def test_two_processes_share_the_pages(scans, tmp_path):
    found = two(tmp_path, scans)
    assert [(code, said) for code, said, _ in found] == [
        (0, ["1.png", "3.png"]),
        (0, ["2.png", "4.png"]),
    ], found
    assert files(tmp_path / "out") == ["1.txt", "2.txt", "4.txt", "errors.jsonl"]


@pytest.mark.slow
def test_what_a_dead_process_left_is_made_up(scans, tmp_path):
    """One dies after its first page; the other finishes its own, and the next run the rest."""
    printed("page 3").save(scans / "3.png")
    (_, first, _), (code, second, _) = two(tmp_path, scans, fail="1")
    assert (code, first, second) == (9, ["1.png", "3.png"], ["2.png"])
    assert files(tmp_path / "out") == ["1.txt", "2.txt", "3.txt"]
    again = two(tmp_path, scans)
    assert [said for _, said, _ in again] == [[], ["4.png"]]
    assert files(tmp_path / "out") == ["1.txt", "2.txt", "3.txt", "4.txt"]
