"""Images to pixels and text to tokens: an image processor and a tokenizer as one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import mlx.core as mx
from PIL import Image

from ..checkpoints.config import read_json
from ..checkpoints.hub import check_habits, fetch
from ..errors import ConfigError, OptionError, as_path, shown
from ..files import make_folder, staged
from ..images.arrays import numbers_of
from ..images.base_image_processor import listed, refuse_unknown
from ..images.image_processors import ImageProcessor
from ..images.line_images import is_line_shaped
from ..images.loading import ImageSource, load_image
from ..images.processor_files import MERGED_FILE, OWN_FILE
from ..layers.batch_feature import BatchFeature, as_tensors
from ..tasks.donut import token2json
from ..tasks.donut_prompts import added_vocabulary, answer_text, task_prompt, task_tokens
from ..tasks.formulas import CLEANERS
from ..tasks.manga import post_process
from ..tasks.nougat import to_markdown
from ..text.inputs import TEXT_OPTIONS, Text, has_half_character, rows_of
from ..text.tokenizer import SupportsToList, TokenIds, Tokenizer
from .parts import Named, fields_of

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST_PROMPT = 2**17  # characters, which are cut into tokens before these are counted


class Reading(NamedTuple):
    """What tokens say: a text, and data where the checkpoint writes some."""

    text: str
    data: Any = None


class Processor:
    """Prepares what goes into a model and reads what comes out; either part may be absent.

    `TrOCRProcessor`, `DonutProcessor` and `NougatProcessor` are this under the names that
    transformers knows, and are saved as such; only Donut's does something else.

    >>> processor = Processor(ImageProcessor(size={"height": 32, "width": 384}))
    >>> processor(images=mx.zeros((50, 600), dtype=mx.uint8)).pixel_values.shape
    (1, 32, 384, 3)
    """

    processor_class: ClassVar[str | None] = None  # in files
    special_tokens_in_labels: ClassVar[bool] = True
    prompts_with_images: ClassVar[bool] = False  # whether a batch of both has `input_ids` too
    knows_all_tokens: ClassVar[bool] = False  # whether its texts never have the unknown token
    stops_on_repetition: ClassVar[bool] = False  # unless a call says otherwise
    reads_whole_pages: ClassVar[bool] = False  # so that no lines have to be found

    def __init__(
        self, image_processor: ImageProcessor | None = None, tokenizer: Tokenizer | None = None
    ) -> None:
        self.image_processor = image_processor
        self.tokenizer = tokenizer

    def __repr__(self) -> str:
        """The class, what its parts are, and how large images and the vocabulary are.

        >>> Processor(ImageProcessor(size={"height": 32, "width": 384}))
        Processor(ViTImageProcessor to 32x384, no tokenizer)
        """
        seen, read = self.image_processor, self.tokenizer
        pixels = "no image processor"
        if seen is not None:
            size = "x".join(str(side) for side in seen.size.values())
            lines = f", lines of {seen.line_aspect_ratio:g}:1" if seen.line_aspect_ratio else ""
            pixels = f"{seen.image_processor_type} to {size}{lines}"
        words = "no tokenizer" if read is None else f"a tokenizer of {len(read)} tokens"
        return f"{type(self).__name__}({pixels}, {words})"

    @classmethod
    def from_pretrained(
        cls,
        path_or_hf_repo: str | Path | None = None,
        *,
        encoder: str | Path | None = None,
        decoder: str | Path | None = None,
        revision: str | None = None,
        subfolder: str | None = None,
        image_steps: str | None = None,
        **habits: Any,
    ) -> Self:
        """From a checkpoint, or the image processor of one and the tokenizer of another.

        `Processor` becomes the class that a checkpoint names, where it is one of those here.
        image_steps -- "texteller", "nougat-latex" or "texify": what that project does to images and
        texts is done, whatever the checkpoint's files say.
        """
        check_habits(habits)
        given = {"path_or_hf_repo": path_or_hf_repo, "encoder": encoder, "decoder": decoder}
        for name, path in given.items():
            if path is not None:
                as_path(path, name)
        if (path_or_hf_repo is None) == (encoder is None and decoder is None):
            raise OptionError(
                "expected a checkpoint's folder or Hub id, or else an encoder's and a decoder's"
            )
        seen, read = path_or_hf_repo or encoder, path_or_hf_repo or decoder
        folder = partial(fetch, revision=revision, weights=False, subfolder=subfolder)
        kind: type[Any] = cls
        if cls is Processor and path_or_hf_repo:
            kind = _named_class(folder(path_or_hf_repo))
        images = None
        if seen:
            place = seen if _is_file(seen) else folder(seen)
            images = ImageProcessor.from_pretrained(place, image_steps=image_steps)
        processor = kind(images, Tokenizer.from_pretrained(folder(read)) if read else None)
        return of_own_steps(processor) if cls is Processor else processor

    def save_pretrained(self, folder: str | Path) -> None:
        """Write both parts, all files at once."""
        with staged(make_folder(folder)):
            if self.image_processor is not None:
                named = {"processor_class": self.processor_class} if self.processor_class else {}
                extra = {**self.image_processor.extra, **named}
                replace(self.image_processor, extra=extra).save_pretrained(folder)
            if self.tokenizer is not None:
                self.tokenizer.save_pretrained(folder)

    def __call__(
        self,
        images: ImageSource | Sequence[ImageSource] | None = None,
        text: Text | None = None,
        *,
        return_tensors: str | None = None,
        **overrides: Any,
    ) -> BatchFeature:
        """One image or a list, one text or a list, or both: then the text's tokens are the labels.

        An image is anything `load_image` takes; a text is a string, a row of token ids, or with
        `is_split_into_words=True` a list of words. Other overrides, for this call, are the image
        processor's fields, `add_special_tokens`, `padding`, `truncation` and `max_length`. Rows of
        tokens are padded with the pad token, as transformers does; a loss leaves out only -100.
        return_tensors -- "mx", which is usual, or "np"; "pt" gives MLX's arrays too.
        """
        fields_of_images = self.image_processor.options() if self.image_processor else set()
        refuse_unknown(overrides, fields_of_images | TEXT_OPTIONS)
        if images is None and text is None:
            raise OptionError("there is nothing to process; give images, text or both")
        shaping = {name: value for name, value in overrides.items() if name in fields_of_images}
        reading = {name: value for name, value in overrides.items() if name in TEXT_OPTIONS}
        if images is not None:
            reading = {"add_special_tokens": self.special_tokens_in_labels, **reading}
        pixels = None if images is None else self._given(images, shaping)
        tokens = None if text is None else self._tokens(text, reading)
        pixels, tokens = (
            x if x is None else as_tensors(x, return_tensors) for x in (pixels, tokens)
        )
        if pixels is None or tokens is None:
            return BatchFeature(pixel_values=pixels, input_ids=tokens)
        if len(pixels) != len(tokens):
            raise OptionError(
                f"there are {len(pixels)} images and {len(tokens)} texts; expected as many; "
                "give each image its text"
            )
        prompts = tokens if self.prompts_with_images else None
        return BatchFeature(pixel_values=pixels, labels=tokens, input_ids=prompts)

    @property
    def line_aspect_ratio(self) -> float | None:
        """Width to height of the lines the checkpoint was trained for, where it says so."""
        return self.image_processor and self.image_processor.line_aspect_ratio

    def pixels(self, images: ImageSource | Sequence[ImageSource], **overrides: Any) -> mx.array:
        """One image or a list of them, as `load_image` takes them, to pixels (B, H, W, C)."""
        return self._made([load_image(source) for source in listed(images)], overrides)

    def _given(self, images: Any, overrides: Mapping[str, Any]) -> mx.array:
        """Images to pixels, where arrays of numbers keep their range, as in transformers."""
        loaded = [s if numbers_of(s) is not None else load_image(s) for s in listed(images)]
        return self._made(loaded, overrides)

    def _made(self, loaded: list[Any], overrides: Mapping[str, Any]) -> mx.array:
        if self.image_processor is None:
            raise ConfigError("the processor has no image processor; give one to Processor(...)")
        return mx.array(self.image_processor(loaded, **overrides))

    def prepared(self, picture: Image.Image, source: object) -> Image.Image:
        """A picture from `on_canvas`; a warning, by its source's name, where it is no line."""
        seen = self.on_canvas(picture)
        name = str(source)[:200] if isinstance(source, (str, os.PathLike)) else "the image"
        if said := self.shape_warning(seen, name):
            said += "; --split-lines prepares them, and in Python read_page"
            warnings.warn(said, stacklevel=3)
        return seen

    def on_canvas(self, picture: Image.Image) -> Image.Image:
        """A picture as a model that reads lines sees it: `ImageProcessor.on_canvas`."""
        return self.image_processor.on_canvas(picture)[0] if self.image_processor else picture

    def shape_warning(self, seen: Image.Image, name: str) -> str | None:
        """What to say of a picture from `on_canvas` that is stretched, as it is no line."""
        aspect = self.line_aspect_ratio
        if aspect is None or self.image_processor is None or not self.image_processor.do_resize:
            return None
        if is_line_shaped(seen.size, aspect):
            return None
        return (
            f"{name} is {seen.width / seen.height:.1f}:1, but this checkpoint reads lines on a "
            f"canvas of {aspect:g}:1"
        )

    def _tokens(self, text: Text, options: Mapping[str, Any]) -> mx.array:
        rows = rows_of(self.required_tokenizer, text, **{"padding": True, **options})
        lengths = sorted({len(row) for row in rows})
        if len(lengths) != 1:
            raise OptionError(
                f"texts come out in lengths {lengths}; expected one for all; give one text or "
                "more, and padding=True, with truncation=True where max_length is too short"
            )
        return mx.array(rows, dtype=mx.int32)

    @property
    def required_tokenizer(self) -> Tokenizer:
        """The tokenizer; a `ConfigError` where the processor has none, and `tokenizer` is None."""
        if self.tokenizer is None:
            raise ConfigError("the processor has no tokenizer; give one to Processor(...)")
        return self.tokenizer

    def decode(self, ids: TokenIds | int, **options: Any) -> str:
        """The text of one row of ids; options are those of `Tokenizer.decode`."""
        return self.required_tokenizer.decode(ids, **options)

    def prompt_text(self, prompt: str | None) -> str | None:
        """The text that the decoder is given before it writes."""
        return prompt

    def prompt_ids(self, prompt: str | None = None) -> list[int] | None:
        """The ids of what the decoder is given before it writes, its start token aside."""
        if prompt is not None and not isinstance(prompt, str):
            raise OptionError(f"prompt is {shown(prompt)}; expected a text, or None for none")
        if prompt and len(prompt) > LONGEST_PROMPT:
            raise OptionError(
                f"prompt has {len(prompt):,} characters; expected {LONGEST_PROMPT:,} at most, and "
                "no more than the table of positions has room for"
            )
        if prompt and has_half_character(prompt):
            raise OptionError(
                f"prompt is {ascii(prompt)[:80]}, with half a surrogate pair; expected whole "
                "characters"
            )
        text = self.prompt_text(prompt or None)
        return self.required_tokenizer.encode(text, add_special_tokens=False) if text else None

    def task_options(self) -> dict[str, Any]:
        """Generation options this kind of checkpoint is read with, unless a call says otherwise."""
        knows_all = self.knows_all_tokens or self.own_steps == "nougat-latex"
        unknown = self.required_tokenizer.unk_token_id if knows_all else None
        return {} if unknown is None else {"bad_words_ids": [[unknown]]}

    def read(self, prompt: Sequence[int], tokens: Sequence[int]) -> Reading:
        """What generated tokens say; the ids of the prompt come before them.

        A formula is cleaned up as the project does whose image steps the processor has.
        """
        text = self.decode(tokens, skip_special_tokens=True)
        return Reading(CLEANERS[self.own_steps](text) if self.own_steps else text)

    def named_parts(self, text: str, data: Any) -> list[Named]:
        """The parts of a text that are told apart: Donut's fields, Nougat's lines, else none."""
        return [] if data is None else [*fields_of(data)]

    @property
    def own_steps(self) -> str:
        """The name of the project whose image steps the image processor has; "" for none."""
        return self.image_processor.own_steps if self.image_processor else ""

    def batch_decode(self, rows: Iterable[TokenIds] | SupportsToList, **options: Any) -> list[str]:
        """The text of each row of ids."""
        return self.required_tokenizer.batch_decode(rows, **options)


class TrOCRProcessor(Processor):
    """`Processor` as TrOCR's checkpoints name it."""

    processor_class: ClassVar[str | None] = "TrOCRProcessor"


class NougatProcessor(Processor):
    """`Processor` as Nougat's checkpoints name it: pages come out as Markdown, cleaned up."""

    processor_class: ClassVar[str | None] = "NougatProcessor"
    knows_all_tokens: ClassVar[bool] = True
    stops_on_repetition: ClassVar[bool] = True
    reads_whole_pages: ClassVar[bool] = True

    def read(self, prompt: Sequence[int], tokens: Sequence[int]) -> Reading:
        """A page as `nougat.to_markdown` leaves it."""
        return Reading(to_markdown(self.decode(tokens, skip_special_tokens=True)).strip())

    def named_parts(self, text: str, data: Any) -> list[Named]:
        """The lines that are not blank."""
        return [("", line) for line in text.split("\n") if line.strip()]


class DonutProcessor(Processor):
    """`Processor` as Donut's checkpoints name it: prompts name tasks, and texts are data.

    Text beside images gets no special tokens, as the task's own stand in it;
    `add_special_tokens=True` in a call adds them. Its tokens are the batch's `labels` and its
    `input_ids`: `model(**batch)` reads the first, `model.generate(**batch)` the others.
    """

    processor_class: ClassVar[str | None] = "DonutProcessor"
    special_tokens_in_labels: ClassVar[bool] = False
    prompts_with_images: ClassVar[bool] = True
    knows_all_tokens: ClassVar[bool] = True
    reads_whole_pages: ClassVar[bool] = True

    def prompt_text(self, prompt: str | None) -> str | None:
        """The task's token where there is no prompt, a question in its tags, tags as they are."""
        tokens = added_vocabulary(self.required_tokenizer)
        if prompt is not None and prompt.startswith("<"):
            return prompt
        return task_prompt(tokens, prompt) if prompt or task_tokens(tokens) else None

    def read(self, prompt: Sequence[int], tokens: Sequence[int]) -> Reading:
        """The tags that follow the task's token, and what they say as JSON."""
        tokenizer = self.required_tokenizer
        begins = len(prompt) > 1 and prompt[0] == tokenizer.bos_token_id
        asked = prompt[1:] if begins else prompt
        roles = ("eos_token", "pad_token")
        named = {role: name for role in roles if (name := getattr(tokenizer, role)) is not None}
        text = answer_text(self.decode([*asked, *tokens]), **named)
        return Reading(text, token2json(text, added_vocabulary(tokenizer)))

    def token2json(self, tokens: str) -> dict[str, Any] | list[Any]:
        """Donut's tags as JSON, as transformers' method of this name gives it."""
        return token2json(tokens, added_vocabulary(self.required_tokenizer))


class MangaOCRProcessor(Processor):
    """`Processor` of manga-ocr, by its tokenizer: text without spaces, at full width."""

    @property
    def has_spaces(self) -> bool:
        """Whether a space is a token, as in a vocabulary learned from texts that have some."""
        return self.tokenizer is not None and self.tokenizer.backend.token_to_id(" ") is not None

    def read(self, prompt: Sequence[int], tokens: Sequence[int]) -> Reading:
        """The text as `manga.post_process` leaves it."""
        if self.has_spaces:
            return super().read(prompt, tokens)
        return Reading(post_process(self.decode(tokens, skip_special_tokens=True)))


def of_own_steps(processor: Processor) -> Any:
    """A processor of one project's own image steps as a plain one, which cleans texts by them."""
    plain = not processor.own_steps or type(processor).read is Processor.read
    return processor if plain else Processor(processor.image_processor, processor.tokenizer)


KINDS = {kind.processor_class: kind for kind in (TrOCRProcessor, NougatProcessor, DonutProcessor)}


def _is_file(path: str | Path) -> bool:
    return Path(path).expanduser().is_file()


def _named_class(folder: Path) -> type[Processor]:
    """The class that a checkpoint's files name; `Processor` where they name none, or another."""
    files = MERGED_FILE, OWN_FILE, "tokenizer_config.json"
    for place, name in product((folder, folder / "processor", folder / "tokenizer"), files):
        values = read_json(place / name) if (place / name).is_file() else {}
        if values.get("processor_class"):
            return KINDS.get(values["processor_class"], Processor)
        if values.get("subword_tokenizer_type") == "character":
            return MangaOCRProcessor
    return Processor
