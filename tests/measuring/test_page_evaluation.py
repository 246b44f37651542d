"""`evaluate_pages`: what is told of pages that were found and read, and which folders are pages."""

import dataclasses
import json

import pytest
from PIL import Image, ImageDraw, ImageFont

from mlx_vedec.errors import DataError, MetricError, OptionError
from mlx_vedec.measuring import page_evaluation as module, processes
from mlx_vedec.measuring.evaluation import compare
from mlx_vedec.measuring.page_evaluation import (
    DEFAULT,
    PAGE_METRICS,
    PageReading,
    evaluate_pages,
    page_sheets,
)
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.reading.processor import NougatProcessor
from mlx_vedec.text.error_rates import Normalization
from tests.support.readers import reads_again

TEXTS = {"a": ["Tea and rice,", "bread, 9.50"], "b": ["Second page"]}


@pytest.fixture(scope="module")
def reader():
    return reads_again()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pages with PAGE beside them, that are read without an error."""
    folder = tmp_path_factory.mktemp("pages")
    font = ImageFont.load_default(24)
    for name, texts in TEXTS.items():
        picture = Image.new("L", (320, 160), 255)
        lines = []
        for row, text in enumerate(texts):
            at = 20, 20 + 60 * row
            ImageDraw.Draw(picture).text(at, text, 0, font)
            lines.append(Line(text, ImageDraw.Draw(picture).textbbox(at, text, font)))
        picture.save(folder / f"{name}.png")
        true = Layout((Region(tuple(lines)),), picture.size, f"{name}.png")
        Page.of(true).save(folder / f"{name}.xml")
    return folder


@pytest.fixture
def finds(monkeypatch):
    """Make pages come out as a function of the true one says, in place of being read."""

    def set_change(change):
        def read(model, processor, works, **options):
            for sheet, given in works:
                true = Page.from_file(sheet.path.with_suffix(".xml"))
                picture = sheet.load()
                page = true if given is None else change(true)
                yield dataclasses.replace(page, picture=picture, name=sheet.name)

        monkeypatch.setattr(module, "read_sheets", read)

    return set_change


def values(evaluation):
    return {name: round(one.value, 4) for name, one in evaluation.metrics.items()}


def test_pages_are_found_and_read(reader, folder):
    seen = []
    found = evaluate_pages(*reader, folder, bootstrap=20, progress=lambda p: seen.append(p.name))
    assert values(found)["line_f1"] == values(found)["reading_order"] == 1
    assert values(found)["cer"] == values(found)["true_lines_cer"] == 0
    assert [*found.metrics] == [*DEFAULT] and found.metrics["cer"].low == 0
    assert [row.prediction for row in found.rows] == ["Tea and rice,\nbread, 9.50", "Second page"]
    assert seen == [row.where for row in found.rows] and not found.unread
    assert all(row.confidence > 0.5 and row.image.endswith(".png") for row in found.rows)


def test_what_is_lost_counts(reader, folder, finds):
    def second_line_lost(page):
        region = page.regions[0]
        return dataclasses.replace(
            page, regions=(dataclasses.replace(region, lines=region.lines[:1]),)
        )

    finds(second_line_lost)
    found = evaluate_pages(*reader, folder, metrics=["line_f1", "cer", "true_lines_cer"])
    lost, whole = len(" bread, 9.50"), len("Tea and rice, bread, 9.50Second page")
    assert values(found) == {
        "line_f1": 0.8,
        "cer": round(lost / whole, 4),
        "true_lines_cer": 0.0,
    }
    assert [row.edits for row in found.rows] == [lost, 0]
    perfect = dataclasses.replace(found, shares={"cer": found.shares["true_lines_cer"]})
    assert compare(perfect, found)["cer"].value == pytest.approx(-lost / whole)


def test_order_and_normalization(reader, folder, finds):
    def turned(page):
        lines = tuple(
            dataclasses.replace(line, text=line.text.upper()) for line in page.lines[::-1]
        )
        return dataclasses.replace(page, regions=(Region(lines),))

    finds(turned)
    folded = Normalization(lowercase=True)
    found = evaluate_pages(*reader, folder, metrics=["reading_order", "line_f1"])
    assert found.shares["reading_order"] == [(0, 1), (1, 1)] and values(found)["line_f1"] == 1
    exact = evaluate_pages(*reader, folder, metrics=["exact_match"], normalization=folded)
    assert values(exact) == {"exact_match": 0.5}  # the page of one line


def test_lines_of_another_segmenter(reader, folder, tmp_path):
    for name in TEXTS:
        Page.of(Layout((Region((Line(box=(10, 10, 310, 150)),)),), (320, 160))).save(
            tmp_path / f"{name}.xml"
        )
    found = evaluate_pages(*reader, folder, layout=tmp_path, metrics=["line_f1"])
    assert values(found) == {"line_f1": 0}  # one line around all does not count as one of them


def test_a_page_that_cannot_be_read(reader, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "a.png").write_text("hello")
    found = evaluate_pages(*reader, tmp_path, bootstrap=0)
    (row,) = found.unread
    assert row.where.endswith("a.png") and row.cer == 1 and row.prediction == ""
    assert values(found)["line_f1"] == 0.5


@pytest.mark.slow
def test_a_layout_of_another_image(reader, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with Image.open(folder / "a.png") as picture:
        picture.resize((320, 90)).save(tmp_path / "a.png")
    found = evaluate_pages(*reader, tmp_path, bootstrap=0)
    (row,) = found.unread
    assert "expected the same proportions" in row.error and (row.cer, row.prediction) == (1, "")
    assert values(found)["line_f1"] == 0.5


def test_whole_page_readers_have_texts_alone(reader, folder, finds, monkeypatch):
    finds(lambda page: page)
    model, _ = reader
    processor = NougatProcessor()
    monkeypatch.setattr(module, "check_reader", lambda *_: None)
    assert processor.reads_whole_pages
    found = evaluate_pages(model, processor, folder)
    assert values(found) == {"cer": 0, "wer": 0}
    with pytest.raises(MetricError, match="line_f1 need a checkpoint that reads lines"):
        evaluate_pages(model, processor, folder, metrics=["line_f1"])


def test_truth_without_texts(reader, folder, tmp_path):
    (tmp_path / "a.png").write_bytes((folder / "a.png").read_bytes())
    true = Page.from_file(folder / "a.xml")
    bare = tuple(dataclasses.replace(line, text="", element=None) for line in true.lines)
    Page.of(Layout((Region(bare),), true.size)).save(tmp_path / "a.xml")
    found = evaluate_pages(*reader, tmp_path, bootstrap=0)
    assert values(found) == {"line_f1": 1, "reading_order": 1}
    assert found.calibration == () != evaluate_pages(*reader, folder, bootstrap=0).calibration
    with pytest.raises(MetricError, match="cer need texts in the layouts; expected line_f1"):
        evaluate_pages(*reader, tmp_path, metrics=["cer"])


class TwoProcesses:
    """A group as the second of two processes sees it."""

    def rank(self):
        return 1

    def size(self):
        return 2


def test_processes_share_the_pages(monkeypatch):
    def read(share):
        return [PageReading(p, "", "", "", "", {"line_f1": (2, 2)}, 0.5, None) for p in share]

    def gather(make, group):
        parts = [read("ace"), make()]
        return json.loads(json.dumps(parts))

    monkeypatch.setattr(processes, "gather_results", gather)
    found = [PageReading(*values) for values in processes.in_shares(read, "abcde", TwoProcesses())]
    assert [reading.where for reading in found] == [*"abcde"]
    assert found[0].share("line_f1", Normalization()) == (2, 2)


def test_folders_that_are_pages(folder, tmp_path):
    assert [sheet.stem for sheet in page_sheets(folder)] == ["a", "b"]
    assert page_sheets(folder / "a.png") == page_sheets(tmp_path) == []
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "b.xml").unlink()
    with pytest.raises(DataError, match=r"1 of 2 pages have no layout: .*b\.png"):
        page_sheets(tmp_path)
    (tmp_path / "a.xml").unlink()
    assert page_sheets(tmp_path) == []  # images alone
    (tmp_path / "a.txt").write_text("Tea")
    (tmp_path / "b.xml").write_bytes((folder / "b.xml").read_bytes())
    assert page_sheets(tmp_path) == []  # samples


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metrics": ["f1"]}, MetricError, "'f1' is not a metric"),
        ({"metrics": ["field_f1"]}, MetricError, "'field_f1' is not a metric"),
        ({"batch_size": 0}, OptionError, "batch_size is 0"),
        ({"bootstrap": -1}, MetricError, "bootstrap is -1"),
        ({"seed": -1}, OptionError, "seed is -1"),
        ({"progress": 3}, OptionError, "progress is 3"),
        ({"layout": 3}, OptionError, "layout is 3"),
        ({"layout": "no/where"}, OptionError, "layout is 'no/where'; expected a folder"),
        ({"prompt": "read"}, OptionError, "a prompt is for checkpoints that read whole pages"),
    ],
)
def test_refusals(reader, folder, arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate_pages(*reader, folder, **arguments)


def test_no_pages_and_no_model(reader, tmp_path):
    for nothing in (tmp_path, [], tmp_path / "a", 3):
        with pytest.raises((DataError, OptionError), match="expected"):
            evaluate_pages(*reader, nothing)
    assert set(DEFAULT) <= set(PAGE_METRICS)
