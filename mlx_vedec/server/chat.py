"""`POST /v1/chat/completions`: the text of an image, as OpenAI's clients ask for it."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..generation.options import Options
from ..images.loading import is_url
from ..reading.processor import Processor
from ..reading.results import GenerationResult
from ..text.streaming import UNDECODED, StreamingDecoder
from ..text.tokenizer import Tokenizer
from .chat_fields import Chat
from .fields import as_json
from .handler import Handler
from .pictures import data_of
from .refusals import Refusal
from .requests import Read, Request, Token
from .service import Service

ENDS = {"stop": "stop", "length": "length", "repetition": "length"}  # OpenAI's word for each reason


def chat_completions(handler: Handler) -> None:
    """Answer a chat."""
    service = handler.service
    with service.place():
        chat = Chat.of(as_json(handler.body()), service.name)
        deadline = service.deadline()
        options = service.settled(chat.options, grammar=chat.grammar)
        if chat.likeliest and options.num_beams > 1:
            raise Refusal(
                400, "top_logprobs are not known of beams; leave out one of them", param="num_beams"
            )
        prompt = service.processor.prompt_ids(chat.prompt_for(service.processor))
        fetched = is_url(chat.image)
        content = service.fetch(chat.image, deadline) if fetched else data_of(chat.image)
        with service.pictures.picture(content, deadline) as picture:
            request = Request(
                [picture],
                options,
                prompt,
                boxes=chat.boxes,
                tokens=chat.stream or chat.likeliest > 0,
                likeliest=chat.likeliest,
                is_gone=handler.is_gone,
            )
            completion = _Completion(service, chat, options)
            with service.worker.reading(request):
                events = request.events(deadline)
                if chat.stream:
                    for chunk in completion.chunks(events):
                        handler.event(chunk)
                    handler.end_events()
                else:
                    handler.answer(200, completion.whole(events))


class _Completion:
    """What is answered to a chat: whole, or in chunks."""

    def __init__(self, service: Service, chat: Chat, options: Options) -> None:
        self.service, self.chat, self.options = service, chat, options
        self.stops = options.stop_strings
        self.texts = options.num_return_sequences
        self.tokens: list[list[Token]] = [[] for _ in range(self.texts)]
        self.shared = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": service.name,
        }

    def whole(self, events: Iterator[Any]) -> dict[str, Any]:
        """The answer, when all of it is there."""
        result = GenerationResult()
        for event in events:
            if isinstance(event, Token):
                self.tokens[event.sequence].append(event)
            else:
                result = _checked(event)
        choices = []
        for index, own in enumerate(_texts(result)):
            message = {
                "role": "assistant",
                "content": content_of(own, self.stops),
                "refusal": None,
            }
            entries = None
            if self.chat.logprobs:
                spelling = Spelling(self.service.processor.required_tokenizer)
                entries = spelling.entries(self.tokens[index] or tokens_of(own))
            choices.append(
                {"index": index, "message": message, **_logprobs(entries), **self._ends(own)}
            )
        return {
            **self.shared,
            "object": "chat.completion",
            "choices": choices,
            "usage": _usage(result),
        }

    def chunks(self, events: Iterator[Any]) -> Iterator[dict[str, Any]]:
        """The answer in pieces, the first of them when there is something to say."""
        tokenizer = self.service.processor.required_tokenizer
        plain = reads_plainly(self.service.processor)
        pieces = [Piecewise(tokenizer, self.stops) for _ in range(self.texts)]
        spellings = [Spelling(tokenizer) for _ in range(self.texts)]
        beams = self.options.num_beams > 1
        said: list[int] = [0] * self.texts  # tokens whose log-probabilities are sent
        first = [True] * self.texts
        for event in events:
            if isinstance(event, Token):
                index = event.sequence
                if plain and not (beams and self.chat.logprobs):  # of beams they are not known yet
                    text = pieces[index].add(event.id)
                    entries = spellings[index].entries([event]) if self.chat.logprobs else []
                    said[index] += 1
                    if text or entries:
                        yield self._delta(index, text, entries, first)
                elif not beams:
                    self.tokens[index].append(event)
                continue
            result = _checked(event)
            for index, own in enumerate(_texts(result)):
                text = pieces[index].finish(content_of(own, self.stops))
                tokens = self.tokens[index] or tokens_of(own)[said[index] :]
                entries = spellings[index].entries(tokens) if self.chat.logprobs else []
                if text or entries or first[index]:
                    yield self._delta(index, text, entries, first)
                ends = {"index": index, "delta": {}, "logprobs": None, **self._ends(own)}
                yield self._chunk([ends])
            if self.chat.usage:
                yield {**self._chunk([]), "usage": _usage(result)}

    def _delta(
        self, index: int, text: str, entries: list[dict[str, Any]], first: list[bool]
    ) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text} if first[index] else {"content": text}
        first[index] = False
        logprobs = _logprobs(entries if self.chat.logprobs else None)
        return self._chunk([{"index": index, "delta": delta, **logprobs, "finish_reason": None}])

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {**self.shared, "object": "chat.completion.chunk", "choices": choices}
        return {**chunk, "usage": None} if self.chat.usage else chunk

    def _ends(self, result: GenerationResult) -> dict[str, Any]:
        """What a choice has at its end: why, and what the model says beside the text."""
        found: dict[str, Any] = {
            "finish_reason": ENDS[result.finish_reason or "stop"],
            "confidence": round(result.confidence, 6),
        }
        if result.data is not None:
            found["data"] = result.data
        if self.chat.boxes:
            found["boxes"] = [vars(word) for word in result.boxes]
        return found


def _checked(event: Any) -> GenerationResult:
    assert isinstance(event, Read)
    if event.result.error is not None:
        raise event.result.error
    return event.result


def _logprobs(entries: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {"logprobs": None if entries is None else {"content": entries, "refusal": None}}


def _texts(result: GenerationResult) -> list[GenerationResult]:
    return [result, *result.alternatives]


def _usage(result: GenerationResult) -> dict[str, int]:
    generated = sum(one.generation_tokens for one in _texts(result))
    return {
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": generated,
        "total_tokens": result.prompt_tokens + generated,
    }


# Texts on their way to a client: cut at stop strings, token by token, with log-probabilities


def until_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to where the first stop string begins.

    >>> until_stop("two lines", [" li", "n"])
    'two'
    """
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def content_of(result: GenerationResult, stops: Sequence[str]) -> str:
    """What a result says: its text before a stop string, or its data as JSON where it has some."""
    if result.data is not None:
        return json.dumps(result.data, ensure_ascii=False)
    return until_stop(result.text, stops)


def reads_plainly(processor: Processor) -> bool:
    """Whether texts are as their tokens come: not cleaned up, and no data, once they are whole."""
    return type(processor).read is Processor.read and not processor.own_steps


class Piecewise:
    """A text as its tokens come; what may be the beginning of a stop string is held back."""

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self.decoder = StreamingDecoder(tokenizer)
        self.stops = stops
        self.text = ""  # that its tokens make certain
        self.sent = 0

    def add(self, token: int) -> str:
        """The text that one more token lets be sent."""
        self.text += self.decoder.add(token)
        whole = until_stop(self.text, self.stops)
        return self._send(len(whole) if whole != self.text else len(self.text) - self._held())

    def finish(self, content: str) -> str:
        """What is left of a text, when all of it is known."""
        self.text = content
        return self._send(len(content))

    def _send(self, end: int) -> str:
        piece = self.text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece

    def _held(self) -> int:
        """Characters at the end that a stop string begins with."""
        return max((_overlap(self.text, stop) for stop in self.stops), default=0)


def _overlap(text: str, stop: str) -> int:
    """The longest end of a text that a stop string begins with, the whole string aside."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)


class Spelling:
    """Tokens as OpenAI's `logprobs` have them: each with its own text, and the likeliest beside it.

    What a token adds to a text depends on the token before it, so they are given in their order.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.skipped = frozenset(tokenizer.skipped_ids)
        self.before: list[int] = []

    def entries(self, tokens: Iterable[Token]) -> list[dict[str, Any]]:
        """An entry for each token that is text."""
        return [self._entry(token) for token in tokens if token.id not in self.skipped]

    def _entry(self, token: Token) -> dict[str, Any]:
        found = {
            **self._spelt(token.id, token.logprob),
            "top_logprobs": [self._spelt(id, logprob) for id, logprob in token.likeliest],
        }
        self.before = [token.id]
        return found

    def _spelt(self, id: int, logprob: float | None) -> dict[str, Any]:
        decode = self.tokenizer.backend.decode
        start = len(decode(self.before, skip_special_tokens=False)) if self.before else 0
        text = decode([*self.before, id], skip_special_tokens=False)[start:]
        whole = UNDECODED not in text
        value = -9999.0 if logprob is None or logprob < -9999.0 else logprob
        return {"token": text, "logprob": value, "bytes": [*text.encode()] if whole else None}


def tokens_of(result: GenerationResult) -> list[Token]:
    """The tokens of a result."""
    pairs = zip(result.tokens, result.token_logprobs, strict=True)
    return [Token(0, id, logprob) for id, logprob in pairs]
