"""Texts to the ids that a decoder is fed and the labels that it learns, as `generate` feeds it.

A sample becomes one row of ids: what generation starts from, the text, the end once. The decoder's
input is that row, the labels are the same moved by one. Where users of transformers take
`tokenizer(text)` behind `config.decoder_start_token_id`, three things go wrong, so here

- **The first input** is the start token of the *generation* config, or all of the prompt (Donut's
  task, a question), because that is what `generate` feeds. Where `config.decoder_start_token_id`
  is another, as in checkpoints fine-tuned from `<s>` that kept Microsoft's `</s>` for generation, a
  warning names both.
- **What a tokenizer puts first** (`<s>`, `[CLS]`) is a label only where the checkpoint writes it.
  TrOCR as Microsoft trained it starts from `</s>` and writes the text at once, as the bundled model
  does; manga-ocr, and what was fine-tuned on the tokenizer's ids as they are, starts from `[CLS]`
  or `<s>` and writes it once more. Nothing in the files tells these apart, so the model is asked:
  shown one image, does it write that token first? Texts of Donut's processor have no such token.
- **The end** is a token that generation stops at, the tokenizer's `</s>` or `[SEP]` if it is one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from ..errors import DataError, TokenError
from ..layers.token_ids import IGNORED

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from ..reading.processor import Processor
    from .samples import Sample


@dataclass(frozen=True, eq=False)
class SampleIds:
    """The token ids of a sample: the first `prompt` of them are given, the rest is learned."""

    ids: np.ndarray
    prompt: int

    @property
    def length(self) -> int:
        """How many tokens the decoder is fed, which is also how many labels there are."""
        return len(self.ids) - 1

    def labels(self, *, mask_prompt: bool = False) -> np.ndarray:
        """The next token at each place; with mask_prompt, -100 where that belongs to the prompt."""
        labels = self.ids[1:].copy()
        if mask_prompt:
            labels[: self.prompt - 1] = IGNORED
        return labels


class Labeller:
    """Makes the ids of samples for a model and its processor.

    leading -- ids that every text begins with: those that `written_first` finds, or none
    """

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        processor: Processor,
        *,
        leading: Sequence[int] = (),
    ) -> None:
        self.model, self.processor, self.leading = model, processor, [*leading]
        self._prompts: dict[str | None, list[int]] = {}
        self.end = _end(model, processor)

    def __call__(self, sample: Sample) -> SampleIds:
        """The ids of a sample; a `DataError` for a text that has the end token inside."""
        prompt = self.prompt(sample.prompt)
        text = self.processor.required_tokenizer.encode(sample.text, add_special_tokens=False)
        while text and text[-1] == self.end:
            text.pop()
        if self.end in text:
            raise DataError(
                f"the text has {self.name(self.end)} inside, where generation ends; take it out"
            )
        ids = [*prompt, *self.leading, *text, self.end]
        return SampleIds(np.array(ids, np.int32), len(prompt))

    def prompt(self, prompt: str | None) -> list[int]:
        """The ids that `generate` starts from."""
        if prompt not in self._prompts:
            given = self.processor.prompt_ids(prompt)
            options = self.model.generation_options()
            fed, _ = self.model.prompt(1, [given] if given else None, options)
            self._prompts[prompt] = fed[0].tolist()  # pyright: ignore[reportArgumentType]
        return self._prompts[prompt]

    def name(self, id: int) -> str:
        """The text of a token in the vocabulary."""
        return self.processor.required_tokenizer.backend.id_to_token(id) or f"#{id}"

    def warn_of_start(self) -> None:
        """Warn where the config's start token is not what generation feeds."""
        if self.model.encoder.config.prompts_are_whole:
            return
        config = self.model.config
        named = (config.decoder_start_token_id, config.decoder.decoder_start_token_id)
        own = next((id for id in named if id is not None), None)
        fed = self.prompt(None)[0]
        if own not in (None, fed):
            warnings.warn(
                f"generation starts from {self.name(fed)} ({fed}), but the config's "
                f"decoder_start_token_id is {self.name(own)} ({own}); training feeds what "
                "generation feeds; set the same in model.config and model.generation_config",
                stacklevel=3,
            )

    def written_first(self, sample: Sample) -> list[int]:
        """The ids that the tokenizer puts before texts, if the model itself writes them first.

        The model is shown the sample's image, and its first token looked at.
        """
        opening = _opening(self.processor)
        if not opening:
            return []
        model, was = self.model, self.model.training
        model.eval()
        fed = mx.array([self.prompt(sample.prompt)])
        features = model.features(self.processor.pixels([sample.image]))
        hidden = model.decoder.decode(fed, model.memory(features))
        first = model.decoder.head(hidden[:, -1:]).argmax().item()
        model.train(was)
        return opening if first == opening[0] else []


def _opening(processor: Processor) -> list[int]:
    """The special tokens that the tokenizer puts before a text."""
    encode = processor.required_tokenizer.encode
    bare, whole = (encode("a", add_special_tokens=added) for added in (False, True))
    if not processor.special_tokens_in_labels or not bare:
        return []
    starts = range(len(whole) - len(bare) + 1)
    return next((whole[:i] for i in starts if whole[i : i + len(bare)] == bare), [])


def _end(model: VisionEncoderDecoderModel, processor: Processor) -> int:
    """The token that a text ends with: one that generation stops at, if it stops at any."""
    tokenizer = processor.required_tokenizer
    own = [id for id in (tokenizer.eos_token_id, tokenizer.sep_token_id) if id is not None]
    stops = model.generation_options().eos_token_ids
    fitting = [id for id in own if id in stops] or [*stops] or own
    if fitting:
        return fitting[0]
    raise TokenError(
        "neither the tokenizer nor the generation config names a token that ends a text; set "
        "model.generation_config.eos_token_id"
    )


def describe(labeller: Labeller, sample: Sample, *, mask_prompt: bool = False) -> str:
    """One sample as the model learns it, for people to look at."""
    found = labeller(sample)
    labels = found.labels(mask_prompt=mask_prompt).tolist()
    text = labeller.processor.decode(found.ids[found.prompt :], skip_special_tokens=True)

    def names(ids: Sequence[int]) -> str:
        return " ".join("·" if id == IGNORED else labeller.name(id) for id in ids)

    lines = {
        "sample": sample.where,
        "text": repr(sample.text),
        "decoder input": names(found.ids[:-1].tolist()),
        "labels": names(labels),
        "label ids": " ".join(map(str, labels)),
        "read back": repr(text),
    }
    return "\n".join(f"{name:<14} {value}" for name, value in lines.items())
