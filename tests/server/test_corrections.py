"""Pages that come back corrected: written in a format, and as data to learn from."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from mlx_vedec import load, load_dataset
from mlx_vedec.pages.page import Page
from mlx_vedec.server import corrections as module
from mlx_vedec.server.corrections import Corrections, split_text
from mlx_vedec.server.sent_pages import layout_of
from tests.conftest import ROOT
from tests.support.serving import asked, form_of, page_of, serving

PAGE = (ROOT / "examples" / "page.png").read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("corrections") / "mine"


@pytest.fixture(scope="module")
def server(folder):
    with serving(*load(), corrections=folder) as found:
        yield found


def post(server, path, **fields):
    body, headers = form_of(**fields)
    return asked(server, "POST", path, body, **headers)


@pytest.fixture(scope="module")
def page(server):
    reading = post(server, "/v1/read", image=PAGE, split_lines=True, boxes=True, stream=True)
    return page_of(reading[1])


def corrected(page, number, text):
    page = json.loads(json.dumps(page))
    line = [line for region in page["regions"] for line in region["lines"]][number]
    line.update(text=text, corrected=True)
    return page


def rows_in(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_corrections_are_data_that_training_reads(server, folder, page):
    text = "Dear Ms. Fielding, no thanks for your order of 12 October."
    status, said, _ = post(server, "/page/corrections", image=PAGE, page=corrected(page, 1, text))
    assert status == 200 and said == {"revision": 1, "lines": len(rows_in(folder)), "corrected": 2}
    rows = rows_in(folder)
    own = [row["text"] for row in rows if row["corrected"]]
    assert " ".join(own) == text and own[0].startswith("Dear Ms. Fielding")
    for row in rows:
        with Image.open(folder / row["file_name"]) as image:
            assert image.width / image.height <= 24.5  # as wide as the model reads, not stretched
    samples = load_dataset(folder)
    assert [sample.text for sample in samples] == [row["text"] for row in rows]
    [xml] = (folder / "pages").glob("*.xml")
    found = Page.from_file(xml)
    assert found.lines[1].text == text and found.image == xml.with_suffix(".png").name
    assert xml.with_suffix(".png").read_bytes() == PAGE
    assert xml.read_text().count(module.MARK) == 1


def test_correcting_again_asks_first_and_overwrites_nothing(server, folder, page):
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".jsonl"}
    count = len(rows_in(folder))
    again = corrected(page, 0, "Harbour Books: Order No. 1")
    status, said, _ = post(server, "/page/corrections", image=PAGE, page=again)
    assert status == 409 and said["error"]["code"] == "corrected_before"
    assert "revision 1" in said["error"]["message"]
    for after, revision in ((1, 2), (None, 3)):
        status, said, _ = post(server, "/page/corrections", image=PAGE, page=again, after=after)
        assert (status, said["revision"]) == (200, revision)
    assert all(path.read_bytes() == content for path, content in before.items())
    rows = rows_in(folder)
    assert len(rows) == count  # those of the newest revision alone
    assert {row["file_name"].split("-")[1] for row in rows} == {"3"}


def test_two_windows_at_once_write_two_revisions(folder, page, tmp_path):
    kept = Corrections(tmp_path / "both", 24.0)
    layout = layout_of(page)
    with Image.open(ROOT / "examples" / "page.png") as picture:
        picture = picture.convert("RGB")
    begin = threading.Barrier(2)

    def save(_):
        begin.wait(30)
        return kept.save(PAGE, picture, layout, None)["revision"]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(save, range(2))) == [1, 2]
    assert {row["file_name"].split("-")[1] for row in rows_in(tmp_path / "both")} == {"2"}


def test_a_write_that_fails_leaves_what_was_there(page, tmp_path, monkeypatch):
    kept = Corrections(tmp_path, 24.0)
    picture = Image.open(ROOT / "examples" / "page.png").convert("RGB")
    kept.save(PAGE, picture, layout_of(page), 0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    right, calls = module.write_file, []

    def full(path, write):
        calls.append(path)
        if len(calls) == 4 or path.name == "metadata.jsonl":
            raise OSError(28, "No space left on device")
        right(path, write)

    monkeypatch.setattr(module, "write_file", full)
    for _ in range(2):
        with pytest.raises(Exception, match="No space left on device.; nothing was changed"):
            kept.save(PAGE, picture, layout_of(page), None)
        calls += [Path()] * 4
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written(page, tmp_path):
    (tmp_path / "file").write_text("")
    with serving(*load(), corrections=tmp_path / "file") as server:
        about = asked(server, "GET", "/page/about")[1]
        assert (
            about["corrections"] is False
            and "file cannot be written" in about["corrections_problem"]
        )
        status, said, _ = post(server, "/page/corrections", image=PAGE, page=page)
        assert status == 403 and "saves no corrections" in said["error"]["message"]
        assert str(tmp_path) not in json.dumps([about, said])


@pytest.mark.parametrize("format", ["text", "json", "page", "alto", "hocr", "tsv", "markdown"])
def test_a_page_is_written_as_it_was_corrected(server, page, format):
    sent = {"page": corrected(page, 1, "Dear <all> & sundry"), "format": format}
    status, content, headers = asked(server, "POST", "/page/write", sent)
    assert status == 200
    text = (
        content
        if isinstance(content, str)
        else content.decode()
        if isinstance(content, bytes)
        else json.dumps(content)
    )
    escaped = {"page", "alto", "hocr"}
    assert ("Dear &lt;all&gt; &amp; sundry" if format in escaped else "Dear <all> & sundry") in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.update(width="wide"), "page.width is 'wide'"),
        (lambda p: p.update(width=10), "the page is 10x472 and its image 931x472"),
        (lambda p: p.update(regions={}), "page.regions is a dict; expected a list"),
        (lambda p: p["regions"][0]["lines"][0].update(text=7), "lines[0].text is 7"),
        (
            lambda p: p["regions"][0]["lines"][0].update(polygon=[[1, 2], [3]]),
            "points of one number",
        ),
        (lambda p: p["regions"][0]["lines"][0].update(polygon=[[0, 0], [1, 1]]), "outline"),
        (
            lambda p: p["regions"][0]["lines"][0].update(box=[5, 5, 1, 1], polygon=[]),
            "box is a list",
        ),
        (lambda p: p["regions"][0]["lines"][0].update(confidence=2), "confidence is 2"),
        (lambda p: p["regions"][0]["lines"][0].update(corrected="yes"), "corrected is 'yes'"),
        (lambda p: p["regions"][0]["lines"][0].update(text="a" * 20_000), "20000 characters"),
        (lambda p: p.update(regions=[]), "nothing to learn"),
    ],
)
def test_pages_that_are_refused(server, folder, page, change, said):
    files = sorted(folder.rglob("*"))
    sent = json.loads(json.dumps(page))
    change(sent)
    status, answer, _ = post(server, "/page/corrections", image=PAGE, page=sent, after=None)
    assert status == 400 and said in answer["error"]["message"]
    assert sorted(folder.rglob("*")) == files


def test_other_readings_of_a_line_and_where_the_decoder_looked(server, page):
    line = page["regions"][0]["lines"][1]
    status, said, _ = post(server, "/page/look", image=PAGE, line=line)
    assert status == 200
    assert [piece["text"] for piece in said["pieces"]] == line["pieces"] and len(line["pieces"]) > 1
    words = [word["text"] for piece in said["pieces"] for word in piece["words"]]
    assert " ".join(words) == line["text"]
    assert all(len(piece["alternatives"]) == 4 for piece in said["pieces"])
    pictures = [word["looked"] for word in said["pieces"][0]["words"]]
    assert len(set(pictures)) == len(pictures)
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    told = {**line, "pieces": ["Dear Ms Feeling", *line["pieces"][1:]]}  # as no beam reads it
    first = post(server, "/page/look", image=PAGE, line=told)[1]["pieces"][0]
    assert [word["text"] for word in first["words"]] == ["Dear", "Ms", "Feeling"]
    assert first["alternatives"][0]["text"] == line["pieces"][0]
    for wrong in ({}, {"text": "a"}, 7):
        assert post(server, "/page/look", image=PAGE, line=wrong)[0] == 400
    assert post(server, "/page/look", image=b"no image", line=line)[0] == 400


def test_a_look_encodes_each_piece_once(server, page, monkeypatch):
    line, rows = page["regions"][0]["lines"][1], []
    features = server.service.model.features
    monkeypatch.setattr(
        server.service.model, "features", lambda p: rows.append(len(p)) or features(p)
    )
    assert post(server, "/page/look", image=PAGE, line=line)[0] == 200
    assert sum(rows) == len(line["pieces"]) > 1


def test_the_page_itself(server):
    for path, kind in (
        ("/", "text/html"),
        ("/page.css", "text/css"),
        ("/page.js", "text/javascript"),
    ):
        status, content, headers = asked(server, "GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind) and content
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    page = asked(server, "GET", "/")[1].decode()
    assert "http" not in page  # nothing of another machine


@pytest.mark.parametrize(
    ("text", "read", "widths", "parts"),
    [
        ("two words", ["two words"], [90], ["two words"]),
        ("one two", ["one", "two"], [1, 9], ["one", "two"]),
        ("ones twos threes", ["one", "two", "three"], [3, 3, 5], ["ones", "twos", "threes"]),
        ("a longer beginning end", ["a beginning", "end"], [1, 1], ["a longer beginning", "end"]),
        (
            "the whole is another text",
            ["lkj", "qwzx uvw"],
            [90, 160],
            ["the whole", "is another text"],
        ),
        ("the whole is another", ["", "lkj"], [1, 1], ["the whole", "is another"]),
        ("end", ["a beginning", "end"], [8, 3], None),  # no space to cut at
        ("one two", ["one", "two", "three"], [3, 3, 5], None),
        ("a bbbbbbbbbbbbbbbbbb", ["x", "y", "z"], [5, 5, 5], None),
    ],
)
def test_a_text_is_cut_where_its_line_was(text, read, widths, parts):
    found = split_text(text, read, widths)
    assert found == parts
    assert found is None or " ".join(found) == text
