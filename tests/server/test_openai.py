"""The client that PyPI has under the name `openai`, as its users call it."""

import pytest

from tests.server.conftest import LINE, TEXT
from tests.support.serving import chat_of, serving

openai = pytest.importorskip("openai")
MESSAGES = chat_of(LINE)["messages"]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_chat(client):
    answer = client.chat.completions.create(model="bundled", messages=MESSAGES, logprobs=True)
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
    assert "".join(entry.token for entry in choice.logprobs.content) == TEXT
    assert answer.usage.total_tokens == 13


def test_stream(client):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [*client.chat.completions.create(model="bundled", messages=MESSAGES, **options)]
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == TEXT and len(said) > 5
    assert chunks[-1].usage.completion_tokens == 12


def test_own_options(client):
    own = {"num_beams": 3, "boxes": True}
    answer = client.chat.completions.create(
        model="bundled", messages=MESSAGES, n=2, stop=["z"], user="me", extra_body=own
    )
    first, second = answer.choices
    assert first.message.content == TEXT != second.message.content
    assert [word["text"] for word in first.boxes] == TEXT.split()


def test_models(client):
    assert [model.id for model in client.models.list()] == ["bundled"]
    assert client.models.retrieve("bundled").owned_by == "mlx_vedec"


def test_errors(client, reader):
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="temperature is 'hot'") as error:
        client.chat.completions.create(model="bundled", messages=MESSAGES, temperature="hot")
    assert error.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="no message of the user has an image"):
        client.chat.completions.create(
            model="bundled", messages=[{"role": "user", "content": "hello"}]
        )
    with serving(*reader, api_keys=["right"]) as guarded:
        address = f"{guarded.url}/v1"
        with (
            openai.OpenAI(base_url=address, api_key="wrong", max_retries=0) as other,
            pytest.raises(openai.AuthenticationError, match="is not one of this server's"),
        ):
            other.models.list()
        with openai.OpenAI(base_url=address, api_key="right") as other:
            assert other.models.list().data


def test_a_stream_that_is_left(client, server):
    """Its row is free again, and the client can go on."""
    stream = client.chat.completions.create(
        model="bundled", messages=MESSAGES, stream=True, extra_body={"min_new_tokens": 40}
    )
    next(iter(stream))
    stream.close()
    assert server.service.wait_until_left(20)
    assert client.chat.completions.create(model="bundled", messages=MESSAGES).choices
    assert not server.worker.batches
