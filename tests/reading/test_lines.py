"""read_lines: the lines of a page."""

import pytest
from PIL import Image

from mlx_vedec import read_lines
from tests.support.readers import reads_again, top_of_the_page


@pytest.fixture(scope="module")
def reader():
    return reads_again()


@pytest.mark.slow
def test_phototest_is_read_line_by_line(reader, shared):
    results = read_lines(*reader, shared / "images" / "phototest.tif")
    expected = (shared / "images" / "phototest.txt").read_text().split("\n")
    found = [" ".join(r.text.split()) for r in results]  # a wide gap may be two spaces
    assert found == [line for line in expected if line]
    tops = [r.box[1] for r in results]
    assert tops == sorted(tops) and all(r.finish_reason == "stop" for r in results)


def test_a_page_is_read_line_by_line(reader, tmp_path):
    """A line as wide as the page too."""
    page, expected = top_of_the_page(tmp_path)
    assert [r.text for r in read_lines(*reader, page)] == expected
    assert len(expected[1]) > 57


def test_words_of_a_page_stand_in_their_lines(reader, tmp_path):
    page, _ = top_of_the_page(tmp_path)
    plain = read_lines(*reader, page)
    for line, result in zip(plain, read_lines(*reader, page, boxes=True), strict=True):
        assert [word.text for word in result.boxes] == line.text.split()
        left, top, right, bottom = line.box
        for word in result.boxes:
            assert left <= word.box[0] < word.box[2] <= right
            assert top <= word.box[1] < word.box[3] <= bottom
        middles = [word.box[0] + word.box[2] for word in result.boxes]
        assert middles == sorted(middles)
        widest = max(result.boxes, key=lambda word: word.box[2] - word.box[0])
        assert len(widest.text) >= max(len(word.text) for word in result.boxes) - 3


def test_a_page_without_lines(reader):
    assert read_lines(*reader, Image.new("L", (300, 200), 255)) == []
