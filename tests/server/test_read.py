"""`/v1/read`: images and pages, whole and as they are read, in all formats."""

import io
import json
import zlib
from urllib.parse import urlencode

import pytest
from PIL import Image

from mlx_vedec import generate, read_page
from mlx_vedec.server.fields import boundary_of, multipart, query_fields
from mlx_vedec.server.read import TYPES
from mlx_vedec.server.refusals import Refusal
from tests.server.conftest import LINE, TEXT
from tests.support.readers import top_of_the_page
from tests.support.serving import CHAT, asked, chat_of, events_of, form_of, serving
from tests.tasks.test_tasks import donut, folder  # noqa: F401


def read(server, content, **fields):
    query = urlencode(fields)
    return asked(server, "POST", f"/v1/read?{query}", content)


@pytest.fixture(scope="module")
def page(reader, tmp_path_factory):
    """A page of two lines: its path, and what is read of it."""
    path, _ = top_of_the_page(tmp_path_factory.mktemp("page"))
    return path, read_page(*reader, path)


def test_a_line(server, reader):
    status, answer, _ = read(server, LINE.read_bytes())
    assert status == 200 and answer["text"] == TEXT and answer["finish_reason"] == "stop"
    [line] = answer["regions"][0]["lines"]
    assert line["box"] == [0, 0, answer["width"], answer["height"]] and line["words"] == []
    assert line["confidence"] == pytest.approx(generate(*reader, LINE).confidence, abs=1e-4)


@pytest.mark.filterwarnings("ignore:the image. 1 of 1 lines were read with a confidence below")
def test_a_temperature_by_itself_draws_as_in_a_chat(server):
    drawn = {"temperature": 3.0, "top_p": 0.99, "seed": 1}
    texts = [read(server, LINE.read_bytes(), **how)[1]["text"] for how in (drawn, drawn, {})]
    assert texts[0] == texts[1] != texts[2]
    assert read(server, LINE.read_bytes(), temperature=0)[1]["text"] == TEXT
    status, answer, _ = read(server, LINE.read_bytes(), temperature=-1)
    assert status == 400 and "temperature is -1; expected a number of 0" in str(answer)


def test_words_and_alternatives(server, reader):
    asks = {"boxes": "true", "num_beams": 3, "num_return_sequences": 3}
    [line] = read(server, LINE.read_bytes(), **asks)[1]["regions"][0]["lines"]
    expected = generate(*reader, LINE, boxes=True, num_beams=3, num_return_sequences=3)
    assert [word["text"] for word in line["words"]] == TEXT.split()
    assert [word["box"] for word in line["words"]] == [[*word.box] for word in expected.boxes]
    assert [a["text"] for a in line["alternatives"]] == [a.text for a in expected.alternatives]


def test_a_page_is_that_of_read_page(server, page):
    path, expected = page
    body, headers = form_of(image=path.read_bytes(), split_lines="true", boxes="true")
    answer = asked(server, "POST", "/v1/read", body, **headers)[1]
    lines = answer["regions"][0]["lines"]
    assert answer["text"] == expected.text
    for line, own in zip(lines, expected.lines, strict=True):
        assert (line["text"], line["box"]) == (own.text, [*own.box])
        assert [word["box"] for word in line["words"]] == [[*word.box] for word in own.words]


def test_lines_as_they_are_read(server, page):
    path, expected = page
    status, content, headers = read(server, path.read_bytes(), split_lines="", stream="true")
    begun, *lines, done = events_of(content)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    assert begun["type"] == "page" and begun["text"] == ""
    boxes = [line["box"] for line in begun["regions"][0]["lines"]]
    assert boxes == [[*line.box] for line in expected.lines]
    assert {line["type"] for line in lines} == {"line"}
    found = {line["number"]: line["text"] for line in lines}
    assert found == {number: line.text for number, line in enumerate(expected.lines)}
    assert done["type"] == "done" and done["text"] == expected.text


@pytest.mark.parametrize("format", sorted(TYPES))
def test_formats(server, page, format):
    path, expected = page
    if format == "pdf":
        pytest.importorskip("pikepdf")
    asks = {"split_lines": "true", "format": format}
    status, content, headers = read(server, path.read_bytes(), **asks)
    assert status == 200 and headers["Content-Type"] == TYPES[format]
    if format == "json":
        assert content["text"] == expected.text
    elif format == "pdf":
        assert content.startswith(b"%PDF-")
    else:
        said = content.decode()
        assert all(word in said for word in expected.text.split()[:3])


def test_a_page_without_lines(server):
    blank = io.BytesIO()
    Image.new("L", (300, 200), 255).save(blank, "PNG")
    status, answer, _ = read(server, blank.getvalue(), split_lines="true")
    assert status == 200 and (answer["text"], answer["regions"]) == ("", [])
    status, content, _ = read(server, blank.getvalue(), split_lines="true", stream="true")
    assert [event["type"] for event in events_of(content)] == ["page", "done"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"split_lines": "maybe"}, "split_lines is 'maybe'; expected true or false"),
        ({"format": "docx"}, "format is 'docx'; expected text, json"),
        ({"layout": "a.xml"}, "'layout' is not taken here"),
        ({"stream": "true", "format": "page"}, "a stream is JSON, not page"),
        ({"model": "gpt"}, "the model 'gpt' is not served here"),
        ({"num_beams": "many"}, "num_beams is 'many'; expected a whole number"),
        ({"split_lines": "true", "prompt": "a"}, "a prompt is for whole images"),
    ],
)
def test_what_is_refused(server, fields, said):
    status, answer, _ = read(server, LINE.read_bytes(), **fields)
    assert status in (400, 404) and said in answer["error"]["message"]


def test_fields_are_there_once_in_form_and_query(server):
    body, headers = form_of(image=LINE.read_bytes(), boxes="true")
    status, answer, _ = asked(server, "POST", "/v1/read?boxes=true", body, **headers)
    assert status == 400 and "'boxes' is there twice" in answer["error"]["message"]
    for images, number in ({"note": b"a"}, 0), ({"image": b"a", "file": b"a"}, 2):
        body, headers = form_of(**images)
        status, answer, _ = asked(server, "POST", "/v1/read", body, **headers)
        assert status == 400 and f"has {number} fields named image" in answer["error"]["message"]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n"


def png_of(width, height):
    """A file that says to be so large, without its pixels."""
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "PNG")
    data = bytearray(content.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the body is empty; expected an image"),
        (b"not an image", "in no format Pillow knows"),
        (EPS, "in the format EPS; expected one of PNG"),
        (b"%PDF-1.4", "no image but a PDF"),
        (png_of(50_000, 50_000), "is too large; expected at most 89478485 pixels"),
        (png_of(2_000_000, 2), "expected at most 89478485 in all, and 1000000 on a side"),
        (png_of(1, 9), "expected at least 2 on each side"),
        (LINE.read_bytes()[:2000], "is damaged or cannot be read"),
    ],
)
def test_images_that_are_refused(server, content, said):
    for body in ({}, {"split_lines": "true"}):
        status, answer, _ = read(server, content, **body)
        assert status == 400 and said in answer["error"]["message"]
        assert answer["error"]["type"] == "invalid_request_error"


def test_pixels_are_counted_back(server):
    before = server.service.pictures.left
    read(server, LINE.read_bytes())
    read(server, LINE.read_bytes()[:2000])
    assert server.service.pictures.left == before


def test_forms_that_are_none():
    body, headers = form_of(a="1", b="\r\n--x\r\n2")
    boundary = boundary_of(headers["Content-Type"])
    assert multipart(body, boundary) == [("a", b"1"), ("b", b"\r\n--x\r\n2")]
    assert multipart(b"before\r\n" + body + b"after", boundary)[0] == ("a", b"1")
    for wrong in (b"", body[:-10], b"--xyz\r\nX: y\r\n\r\n1\r\n--xyz--", b"--xyz\r\n\r\n--xyz--"):
        with pytest.raises(Refusal):
            multipart(wrong, b"xyz")
    many = form_of(**{f"a{i}": "" for i in range(101)})[0]
    with pytest.raises(Refusal, match="over 100 fields"):
        multipart(many, b"xyz")
    for kind in ("multipart/form-data", "multipart/form-data; boundary=" + "a" * 300):
        with pytest.raises(Refusal, match="names no boundary"):
            boundary_of(kind)
    with pytest.raises(Refusal, match="over 100 fields"):
        query_fields("a=1&" * 101)
    with pytest.raises(Refusal, match="malformed"):
        query_fields("a=%ff")


def test_forms_that_tests_write(server):
    body, headers = form_of(file=LINE.read_bytes(), max_tokens="5")
    status, answer, _ = asked(server, "POST", "/v1/read", body, **headers)
    assert (status, answer["text"], answer["finish_reason"]) == (200, TEXT[:5], "length")


def test_texts_that_look_like_numbers(server):
    _, answer, _ = read(server, LINE.read_bytes(), stop_strings="206")
    assert answer["text"] == "wheel 206"  # the library's, whose texts end with what stopped them
    status, answer, _ = read(server, LINE.read_bytes(), prompt="[1]")
    assert status == 400 and "prompt is a list; expected a text" in answer["error"]["message"]


def test_what_donut_says_is_data(donut):  # noqa: F811
    """A question in the message, the answer as JSON in the text, and as data beside it."""
    model, processor = donut
    expected = generate(model, processor, str(LINE), "who", max_new_tokens=6)
    with serving(model, processor) as server:
        chat = chat_of(LINE, "who", max_tokens=6, logprobs=True)
        _, answer, _ = asked(server, "POST", CHAT, chat)
        [choice] = answer["choices"]
        assert choice["data"] == json.loads(choice["message"]["content"]) == expected.data
        assert answer["usage"]["prompt_tokens"] == expected.prompt_tokens
        _, content, _ = asked(server, "POST", CHAT, {**chat, "stream": True})
        chunks = [chunk["choices"][0] for chunk in events_of(content)]
        assert json.loads(chunks[0]["delta"]["content"]) == expected.data and len(chunks) == 2
        assert chunks[1]["data"] == expected.data
        assert chunks[0]["logprobs"] == choice["logprobs"]
        _, answer, _ = read(server, LINE.read_bytes(), prompt="who", max_tokens=6)
        assert answer["data"] == expected.data and answer["finish_reason"] == "length"
        status, answer, _ = asked(server, "POST", CHAT, chat_of(LINE, ""))
        assert status == 400 and "give question" in answer["error"]["message"]
