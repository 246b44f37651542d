"""A chat as OpenAI's clients send it: what it asks of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import shown
from ..reading.processor import DonutProcessor, Processor
from ..tasks.donut_prompts import ANSWER, QUESTION, added_vocabulary, field_names
from .fields import OWN, options_of, refuse_unknown, text_or_none, true_or_false
from .limits import IMAGES, MESSAGES, MOST_LIKELIEST
from .refusals import Refusal, wrong

# Fields of OpenAI's by the option of generation that each is.
AS_OPTIONS = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "top_p": "top_p",
    "n": "num_return_sequences",
    "stop": "stop_strings",
    "seed": "seed",
}
# Fields of OpenAI's that mean nothing here, with the values that ask for nothing.
IDLE: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "store": (False,),
    "metadata": ({},),
}
FIELDS = {
    *("model", "messages", "stream", "stream_options", "logprobs", "top_logprobs", "user"),
    *("prompt", "boxes", "grammar"),
}
KNOWN = frozenset({*FIELDS, *AS_OPTIONS, *IDLE, *OWN})
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


@dataclass(frozen=True)
class Chat:
    """What a chat asks for.

    image -- its URI; text -- of the last message, "" where it has none. options -- of generation
    prompt -- what the decoder is given, where the request says it in that field
    """

    image: str
    text: str
    options: dict[str, Any]
    prompt: str | None = None
    stream: bool = False
    usage: bool = False
    logprobs: bool = False
    likeliest: int = 0
    boxes: bool = False
    grammar: bool = False

    @classmethod
    def of(cls, values: Mapping[str, Any], model: str) -> Chat:
        """What a body's JSON says; `Refusal` where it says something else than a chat does."""
        values = {name: value for name, value in values.items() if value is not None}
        refuse_unknown(values, KNOWN)
        for name, idle in IDLE.items():
            if name in values and values[name] not in idle:
                raise Refusal(400, f"{name} is not done here; leave it out", param=name)
        check_model(values.get("model"), model)
        image, text = _content(values.get("messages"))
        stream, logprobs = (true_or_false(values, name) for name in ("stream", "logprobs"))
        return cls(
            image=image,
            text=text,
            options=options_of(values, AS_OPTIONS),
            prompt=text_or_none(values, "prompt"),
            stream=stream,
            usage=_usage(values, stream=stream),
            logprobs=logprobs,
            likeliest=_likeliest(values, logprobs=logprobs),
            boxes=true_or_false(values, "boxes"),
            grammar=true_or_false(values, "grammar"),
        )

    def prompt_for(self, processor: Processor) -> str | None:
        """What the decoder is given before it writes.

        The text of the message is a question for those that answer questions, tags for Donut. Other
        checkpoints read an image whatever they are told, so they are not told it.
        """
        if self.prompt is not None or not self.text:
            return self.prompt
        if not isinstance(processor, DonutProcessor):
            return None
        fields = field_names(added_vocabulary(processor.required_tokenizer))
        asks = self.text.startswith("<") or {QUESTION, ANSWER} <= {*fields}
        return self.text if asks else None


def check_model(named: Any, model: str) -> None:
    """Raise `Refusal` for another model than the one that is served."""
    if named not in (None, model, "default"):
        raise Refusal(
            404,
            f"the model {shown(named)} is not served here; expected {model}, or leave it out",
            code="model_not_found",
            param="model",
        )


def _usage(values: Mapping[str, Any], *, stream: bool) -> bool:
    options = values.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise Refusal(400, "stream_options is for streams", param="stream_options")
    if not isinstance(options, dict):
        raise wrong("stream_options", options, "an object")
    options = {name: value for name, value in options.items() if value is not None}
    refuse_unknown(options, {"include_usage", "include_obfuscation"})
    true_or_false(options, "include_obfuscation")
    return true_or_false(options, "include_usage")


def _likeliest(values: Mapping[str, Any], *, logprobs: bool) -> int:
    wanted = values.get("top_logprobs", 0)
    fits = isinstance(wanted, int) and not isinstance(wanted, bool)
    if not fits or not 0 <= wanted <= MOST_LIKELIEST:
        raise wrong("top_logprobs", wanted, f"a whole number from 0 to {MOST_LIKELIEST}")
    if wanted and not logprobs:
        raise Refusal(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    return wanted


# Messages


def _content(messages: Any) -> tuple[str, str]:
    """The last image of a chat, and the text of the last message of the user."""
    if not isinstance(messages, list) or not messages or len(messages) > MESSAGES:
        said = f"has {len(messages)} items" if isinstance(messages, list) else shown(messages)
        raise Refusal(400, f"messages {said}; expected a list of 1 to {MESSAGES}", param="messages")
    parts = [_parts(message, f"messages[{i}]") for i, message in enumerate(messages)]
    users = [own for own, message in zip(parts, messages, strict=True) if message["role"] == "user"]
    if sum(len(images) for images, _ in users) > IMAGES:
        raise Refusal(400, f"messages have over {IMAGES} images; send one", param="messages")
    shows = [images for images, _ in users if images]
    if not shows:
        raise Refusal(
            400,
            "no message of the user has an image; expected a part of the type image_url",
            param="messages",
        )
    if len(shows[-1]) > 1:
        raise Refusal(400, f"a message has {len(shows[-1])} images; expected one", param="messages")
    return shows[-1][0], users[-1][1]


def _parts(message: Any, where: str) -> tuple[list[str], str]:
    """The images' URIs and the text of a message."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise Refusal(400, f"{where} is no message; expected a role and content", param=where)
    content = message.get("content")
    if content is None or isinstance(content, str):
        return [], (content or "").strip()
    if not isinstance(content, list):
        raise wrong(f"{where}.content", content, "a text or a list")
    images, texts = [], []
    for i, part in enumerate(content):
        for kind, value in _part(part, f"{where}.content[{i}]"):
            (images if kind == "image_url" else texts).append(value)
    return images, "\n".join(texts).strip()


def _part(part: Any, where: str) -> Iterator[tuple[str, str]]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", "image_url"):
        raise wrong(f"{where}.type", kind, "text or image_url")
    value = part.get(kind)
    if kind == "image_url" and isinstance(value, dict):
        value = value.get("url")
    if not isinstance(value, str):
        raise wrong(f"{where}.{kind}", value, "a text")
    yield kind, value
