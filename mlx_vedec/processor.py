"""Images to pixels and text to tokens: an image processor and a tokenizer as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mlx.core as mx

from .errors import ConfigError, OptionError
from .hub import fetch
from .images import OVERRIDES, ImageProcessor, ImageSource, load_image, refuse_unknown
from .text import SupportsToList, TokenIds, Tokenizer

TEXT_OPTIONS = {"add_special_tokens", "padding", "truncation", "max_length"}


@dataclass(eq=False)
class Batch(Mapping[str, mx.array]):
    """What a model takes: pixels (B, H, W, C) float32, labels or tokens (B, L) int32.

    A mapping of what is set, so that `model(**batch)` works.
    """

    pixel_values: mx.array | None = None
    labels: mx.array | None = None
    input_ids: mx.array | None = None

    def __getitem__(self, name: str) -> mx.array:
        if name not in tuple(self):
            raise KeyError(f"{name} is not in the batch; it has {', '.join(self)}")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self) if getattr(self, f.name) is not None)

    def __len__(self) -> int:
        return len(tuple(iter(self)))


class Processor:
    """Prepares what goes into a model and reads what comes out; either part may be absent.

    >>> processor = Processor(ImageProcessor(size={"height": 32, "width": 384}))
    >>> processor(images=mx.zeros((50, 600), dtype=mx.uint8)).pixel_values.shape
    (1, 32, 384, 3)
    """

    def __init__(
        self, image_processor: ImageProcessor | None = None, tokenizer: Tokenizer | None = None
    ) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls,
        path_or_hf_repo: str | Path | None = None,
        *,
        encoder: str | Path | None = None,
        decoder: str | Path | None = None,
        revision: str | None = None,
    ) -> Processor:
        """From a checkpoint, or the image processor of one and the tokenizer of another."""
        if (path_or_hf_repo is None) == (encoder is None and decoder is None):
            raise OptionError(
                "expected a checkpoint's folder or Hub id, or else an encoder's and a decoder's"
            )
        seen, read = path_or_hf_repo or encoder, path_or_hf_repo or decoder
        return cls(
            ImageProcessor.from_pretrained(fetch(seen, revision)) if seen else None,
            Tokenizer.from_pretrained(fetch(read, revision)) if read else None,
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write both parts, each file to a temporary name and then renamed."""
        for part in (self.image_processor, self.tokenizer):
            if part is not None:
                part.save_pretrained(folder)

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource] | None = None,
        text: str | Sequence[str] | None = None,
        **overrides: Any,
    ) -> Batch:
        """One image or a list, one text or a list, or both: then the text's tokens are the labels.

        An image is anything `load_image` takes. Overrides are fields of the image processor, or
        `add_special_tokens`, `padding`, `truncation` and `max_length`, for this call. Rows of
        tokens are padded with the pad token, as transformers does; a loss leaves out only -100.
        """
        refuse_unknown(overrides, OVERRIDES | TEXT_OPTIONS)
        if images is None and text is None:
            raise OptionError("there is nothing to process; give images, text or both")
        shaping = {name: value for name, value in overrides.items() if name in OVERRIDES}
        pixels = None if images is None else self.pixels(images, **shaping)
        tokens = None if text is None else self._tokens(text, overrides)
        if pixels is None or tokens is None:
            return Batch(pixel_values=pixels, input_ids=tokens)
        if len(pixels) != len(tokens):
            raise OptionError(
                f"there are {len(pixels)} images and {len(tokens)} texts; expected as many; "
                "give each image its text"
            )
        return Batch(pixel_values=pixels, labels=tokens)

    @property
    def line_aspect_ratio(self) -> float | None:
        """Width to height of the lines the checkpoint was trained for, where it says so."""
        return self.image_processor and self.image_processor.line_aspect_ratio

    def pixels(self, images: ImageSource | Sequence[ImageSource], **overrides: Any) -> mx.array:
        """One image or a list of them to pixels (B, H, W, C), float32."""
        if self.image_processor is None:
            raise ConfigError("the processor has no image processor; give one to Processor(...)")
        sources: list[Any] = [*images] if isinstance(images, (list, tuple)) else [images]
        loaded = [load_image(source) for source in sources]
        return mx.array(self.image_processor(loaded, **overrides))

    def _tokens(self, text: str | Sequence[str], overrides: Mapping[str, Any]) -> mx.array:
        options = {name: value for name, value in overrides.items() if name in TEXT_OPTIONS}
        texts = [text] if isinstance(text, str) else text
        rows = self.reader(texts, **{"padding": True, **options}).input_ids
        lengths = sorted({len(row) for row in rows})
        if len(lengths) != 1:
            raise OptionError(
                f"texts come out in lengths {lengths}; expected one for all; give one text or "
                "more, and padding=True, with truncation=True where max_length is too short"
            )
        return mx.array(rows, dtype=mx.int32)

    @property
    def reader(self) -> Tokenizer:
        """The tokenizer; an error where the processor has none."""
        if self.tokenizer is None:
            raise ConfigError("the processor has no tokenizer; give one to Processor(...)")
        return self.tokenizer

    def decode(self, ids: TokenIds | int, **options: Any) -> str:
        """The text of one row of ids; options are those of `Tokenizer.decode`."""
        return self.reader.decode(ids, **options)

    def batch_decode(self, rows: Iterable[TokenIds] | SupportsToList, **options: Any) -> list[str]:
        """The text of each row of ids."""
        return self.reader.batch_decode(rows, **options)
