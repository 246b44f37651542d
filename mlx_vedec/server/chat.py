"""`POST /v1/chat/completions`: the text of an image, as OpenAI's clients ask for it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

from ..generation.options import Options
from ..reading.results import GenerationResult
from .chat_fields import Chat
from .fields import as_json
from .handler import Handler
from .pictures import data_of
from .refusals import Refusal
from .requests import Read, Request, Token
from .service import Service
from .texts import ENDS, Piecewise, Spelling, content_of, reads_plainly, tokens_of


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
        content = _image(chat.image, service, deadline)
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


def _image(uri: str, service: Service, deadline: float) -> bytes:
    if uri[:8].lower().startswith(("http://", "https://")):
        return service.fetch(uri, deadline)
    return data_of(uri)


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
