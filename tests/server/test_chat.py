"""Chats as they are sent and answered, without a client's library."""

import json
import math

import numpy as np
import pytest

from mlx_vedec import generate
from mlx_vedec.server.chat import Piecewise, until_stop
from tests.server.conftest import LINE, LINES, TEXT
from tests.support.serving import CHAT, asked, chat_of, connection_to, data_uri, events_of


def test_an_image_and_its_text(server):
    status, answer, headers = asked(server, "POST", CHAT, chat_of(LINE, user="me"))
    [choice] = answer["choices"]
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert choice["message"] == {"role": "assistant", "content": TEXT, "refusal": None}
    assert (choice["finish_reason"], choice["index"], choice["logprobs"]) == ("stop", 0, None)
    assert choice["confidence"] > 0.9 and answer["object"] == "chat.completion"
    assert (answer["model"], answer["id"][:9]) == ("bundled", "chatcmpl-")
    usage = {"prompt_tokens": 1, "completion_tokens": 12, "total_tokens": 13}
    assert answer["usage"] == usage


def streamed(server, **fields):
    body = chat_of(LINE, stream=True, **fields)
    status, content, headers = asked(server, "POST", CHAT, body)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    return events_of(content)


def test_a_stream(server):
    chunks = streamed(server, stream_options={"include_usage": True})
    *chunks, end, usage = chunks
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1 and len(chunks) == len(TEXT)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant" and "role" not in deltas[1]
    assert "".join(delta["content"] for delta in deltas) == TEXT
    assert end["choices"][0]["finish_reason"] == "stop" and end["choices"][0]["delta"] == {}
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 12
    assert all(chunk["usage"] is None for chunk in [*chunks, end])
    assert "usage" not in streamed(server)[0]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"stop": "l 2"}, ["whee"]),
        ({"stop": ["6,", "zz"]}, ["wheel 20"]),
        ({"max_tokens": 4}, ["whee"]),
        ({"max_completion_tokens": 4, "max_tokens": 4}, ["whee"]),
        ({"num_beams": 3, "n": 1}, [TEXT]),
        ({"num_beams": 3, "n": 2}, [TEXT, None]),
        ({"temperature": 2.0, "top_p": 0.9, "n": 2, "seed": -5}, [None, None]),
        ({"prompt": "wh"}, ["eel 206,3"]),
        ({"prompt": "wh", "stop": "6"}, ["eel 20"]),
        ({"n": None, "temperature": None, "response_format": {"type": "text"}}, [TEXT]),
        ({"model": "default", "frequency_penalty": 0, "tools": []}, [TEXT]),
    ],
)
def test_a_stream_says_what_the_whole_answer_does(server, fields, texts):
    _, whole, _ = asked(server, "POST", CHAT, chat_of(LINE, **fields))
    said = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(said) == len(texts)
    assert all(b is None or a == b for a, b in zip(said, texts, strict=True))
    pieces, ends = [""] * len(texts), [None] * len(texts)
    for chunk in streamed(server, **fields):
        [choice] = chunk["choices"]
        pieces[choice["index"]] += choice["delta"].get("content", "")
        ends[choice["index"]] = choice["finish_reason"]
    assert pieces == said
    assert ends == [choice["finish_reason"] for choice in whole["choices"]]
    assert ends[0] == ("length" if "max_tokens" in fields else "stop")


@pytest.mark.parametrize("beams", [1, 2])
def test_log_probabilities(server, reader, beams):
    """Those of `generate`, and in a stream the same as in the whole answer."""
    expected = generate(*reader, LINE, num_beams=beams)
    fields = {"logprobs": True, "num_beams": beams}
    if beams == 1:
        fields["top_logprobs"] = 3
    _, whole, _ = asked(server, "POST", CHAT, chat_of(LINE, **fields))
    entries = whole["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == TEXT
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == TEXT
    found = [entry["logprob"] for entry in entries]
    np.testing.assert_allclose(found, expected.token_logprobs[:-1], atol=1e-4)
    for entry in entries:
        top = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(top) == (3 if beams == 1 else 0) and top == sorted(top, reverse=True)
        assert not top or (entry["top_logprobs"][0]["token"] == entry["token"] and top[0] < 0)
        assert sum(math.exp(value) for value in top) <= 1
    chunks = streamed(server, **fields)
    logprobs = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    again = [entry for own in logprobs if own for entry in own["content"]]
    assert [entry["token"] for entry in again] == [entry["token"] for entry in entries]
    np.testing.assert_allclose([entry["logprob"] for entry in again], found, atol=1e-5)


def test_boxes_and_words(server):
    _, answer, _ = asked(server, "POST", CHAT, chat_of(LINE, boxes=True))
    words = answer["choices"][0]["boxes"]
    assert [word["text"] for word in words] == TEXT.split()
    assert all(len(word["box"]) == 4 and 0 < word["confidence"] <= 1 for word in words)


def test_a_seed_gives_the_same_text_alone_and_beside_others(server):
    drawn = {"temperature": 3.0, "top_p": 0.99, "n": 2}

    def texts(answer):
        return [choice["message"]["content"] for choice in answer[1]["choices"]]

    body = chat_of(LINE, **drawn, seed=11)
    alone = texts(asked(server, "POST", CHAT, body))
    others = [connection_to(server) for _ in LINES]
    for number, (connection, line) in enumerate(zip(others, LINES, strict=True)):
        fields = drawn if number % 2 else {"seed": 11, **drawn}
        connection.request("POST", CHAT, json.dumps(chat_of(line, **fields)))
    assert texts(asked(server, "POST", CHAT, body)) == alone
    for connection in others:
        assert connection.getresponse().status == 200
        connection.close()
    assert texts(asked(server, "POST", CHAT, {**body, "seed": 12})) != alone


def test_base64_in_lines(server):
    kind, _, said = data_uri(LINE).partition(",")
    url = (
        kind.replace(";", ";charset=utf-8;")
        + ","
        + "\n".join(said[i : i + 76] for i in range(0, len(said), 76))
    )
    _, answer, _ = asked(server, "POST", CHAT, chat_of(url))
    assert answer["choices"][0]["message"]["content"] == TEXT


def test_the_last_image_and_what_was_said_before(server):
    """As chat programs send all that was said again."""
    earlier = chat_of(LINES[0])["messages"]
    said = {"role": "assistant", "content": "something"}
    system = {"role": "system", "content": "You read lines."}
    later = {"role": "user", "content": "Are you sure?"}
    messages = [system, *earlier, said, *chat_of(LINE)["messages"], said, later]
    _, answer, _ = asked(server, "POST", CHAT, {"messages": messages})
    assert answer["choices"][0]["message"]["content"] == TEXT


PART = {"type": "image_url", "image_url": {"url": data_uri(LINE)}}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ([], 400, "the body is a list; expected a JSON object"),
        ({}, 400, "messages None; expected a list of 1 to 1000"),
        (chat_of(LINE, beams=4), 400, "'beams' is not taken here; did you mean"),
        (chat_of(LINE, sampler=1), 400, "'sampler' is not taken here"),
        (chat_of(LINE, presence_penalty=1), 400, "presence_penalty is not done here"),
        (chat_of(LINE, model="gpt-4o"), 404, "the model 'gpt-4o' is not served here"),
        (chat_of(LINE, stream=1), 400, "stream is 1; expected true or false"),
        (chat_of(LINE, max_tokens=0), 400, "max_tokens is 0; expected a whole number of at least"),
        (chat_of(LINE, max_tokens=1, max_completion_tokens=2), 400, "both given"),
        (chat_of(LINE, temperature=-1), 400, "temperature is -1; expected a number of 0"),
        (chat_of(LINE, n=2), 400, "num_return_sequences=2 would give the same"),
        (chat_of(LINE, n=17, temperature=1), 400, "17 texts or beams of an image are asked for"),
        (chat_of(LINE, top_p=0.5), 400, "top_p=0.5 is for sampling"),
        (chat_of(LINE, stop=["x"] * 17), 400, "stop has 17 texts"),
        (chat_of(LINE, stop=[""]), 400, "stop is ['']; expected a text, or a list of texts"),
        (chat_of(LINE, suppress_tokens=[0] * 1001), 400, "suppress_tokens has over 1000 items"),
        (chat_of(LINE, suppress_tokens=[999999]), 400, "suppress_tokens has 999999, outside"),
        (chat_of(LINE, suppress_tokens=[*range(278)]), 400, "no token that may come next"),
        (chat_of(LINE, logprobs=True, top_logprobs=21), 400, "top_logprobs is 21; expected"),
        (chat_of(LINE, top_logprobs=2), 400, "top_logprobs needs logprobs"),
        (chat_of(LINE, logprobs=True, top_logprobs=2, num_beams=2), 400, "not known of beams"),
        (chat_of(LINE, stream_options={}), 400, "stream_options is for streams"),
        (chat_of(LINE, prompt="x" * 90), 400, "tokens"),
        (chat_of(LINE, prompt="\ud800"), 400, "half a surrogate pair"),
        (chat_of(LINE, grammar=True), 400, "none are a field's"),
        (chat_of(b"no image"), 400, "an image of 8 bytes is in no format Pillow knows"),
        (chat_of("data:image/png;base64,a"), 400, "is not in base64"),
        (chat_of("/etc/passwd"), 400, "begins with '/etc/passwd'; expected data:"),
        (chat_of("file:///etc/passwd"), 400, "begins with 'file:///etc/passwd'; expected data:"),
        (chat_of("http://127.0.0.1/a.png"), 400, "images are not downloaded from addresses"),
        ({"messages": [{"role": "user", "content": "hello"}]}, 400, "no message of the user has"),
        ({"messages": [{"role": "user", "content": [PART] * 2}]}, 400, "a message has 2 images"),
        ({"messages": [{"role": "user", "content": [PART]}] * 101}, 400, "over 100 images"),
        ({"messages": [{"role": "x", "content": ""}]}, 400, "messages[0] is no message"),
        ({"messages": [{"role": "user", "content": 1}]}, 400, "content is 1; expected"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            400,
            "'audio'; expected",
        ),
        ({"messages": [3]}, 400, "messages[0] is no message"),
    ],
)
def test_what_is_refused(server, body, status, said):
    """With OpenAI's JSON and the library's words; the same where a stream is asked for."""
    streamed = isinstance(body, dict) and not {"stream", "stream_options"} & body.keys()
    for sent in [body, {**body, "stream": True}] if streamed else [body]:
        code, answer, _ = asked(server, "POST", CHAT, sent)
        assert answer["error"].keys() == {"message", "type", "param", "code"}
        assert said in answer["error"]["message"] and code == status, answer


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 99999, b'{"n": NaN}', b'"a"'])
def test_what_is_no_json(server, content):
    status, answer, _ = asked(server, "POST", CHAT, content)
    assert status == 400 and answer["error"]["type"] == "invalid_request_error"


def test_one_wrong_request_leaves_those_beside_it(server):
    """Rules that leave no token end a text with an error, in a batch that others are in."""
    wrong = chat_of(LINE, suppress_tokens=[*range(278)])
    connections = [connection_to(server) for _ in range(6)]
    for number, connection in enumerate(connections):
        body = wrong if number in (1, 4) else chat_of(LINE, max_tokens=9 + number % 2)
        connection.request("POST", CHAT, json.dumps(body))
    found = []
    for connection in connections:
        response = connection.getresponse()
        answer = json.loads(response.read())
        found.append(answer["choices"][0]["message"]["content"] if response.status == 200 else None)
        connection.close()
    assert found == [TEXT[:9], None, TEXT[:9], TEXT[:10], None, TEXT[:10]]


class Letters:
    skipped_ids = ()

    class backend:
        @staticmethod
        def decode(ids, skip_special_tokens):
            return "".join(chr(ord("a") + i) for i in ids)

    def tightens(self):
        return False

    def checked(self, ids):
        return ids


@pytest.mark.parametrize("stops", [(), ("cd",), ("bcx", "de"), ("abcdef",), ("f", "ef", "def")])
def test_nothing_of_a_stop_string_is_sent(stops):
    pieces = Piecewise(Letters(), stops)
    sent = [pieces.add(token) for token in range(7)]
    whole = until_stop("abcdefg", stops)
    assert "".join(sent) == whole[: len("".join(sent))]
    assert "".join(sent) + pieces.finish(whole) == whole
    if not stops:
        assert sent == [*"abcdefg"]
