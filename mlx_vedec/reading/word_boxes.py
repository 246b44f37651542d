"""Where in a picture each word was read: cross-attention, brought back through the preprocessing.

How it is done was chosen by horizontal IoU with the ink of the words that the first edition of the
bundled model read, in tests/data/lines (16 lines, 35 words; in brackets 188 lines of its validation
set, 420 words). This edition, which was taught to look at what it writes, has 0.87 (0.84).

- The mean of the last layer's heads: 0.88 (0.87); their median: the same. All layers: 0.84 (0.83),
  as the first looks elsewhere. The head of lowest entropy: 0.80 (0.69); the two lowest: 0.73
  (0.65). Dynamic time warping of the last layer, as Whisper aligns words: 0.86 (0.82).
- Less what the tokens look at on average: no change here, but with a fifth of the attention moved
  to one place, as some models do, it stays what it is and would be 0.48 (0.48) otherwise.
- The places with half of a token's most: 0.88 (0.87), and anything from 0.4 to 0.6 within 0.01. The
  middle 90 % of a word's attention: 0.89 (0.87), but with all layers 0.49 (0.48) and not 0.84.

`tests/reading/test_word_boxes.py` repeats 0.87. That model's patches are as high as its image: no
height is measured yet, and no model that reads more than one line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..encoders.patches import Grid
from ..errors import ConfigError, ImageError, OptionError, TokenError
from ..images.boxes import Box, shifted
from ..images.geometry import Geometry
from ..layers.outputs import Seq2SeqLMOutput
from ..text.streaming import words_of
from .processor import Processor

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel

Maps = NDArray[np.float32]
NEAR_PEAK = 0.5  # of a token's most attended row or column; see above
ALIKE = 0.01  # share of a token's attention; with less of its own it looks where all look


@dataclass(frozen=True)
class WordBox:
    """A word, where it was read, and how sure the model is of it.

    text       -- without spaces: a line in Chinese is one word
    box        -- left, top, right, bottom in pixels of the picture
    confidence -- geometric mean of its tokens' probabilities, 0 to 1
    """

    text: str
    box: Box
    confidence: float

    def moved(self, x: int, y: int, within: Box) -> WordBox:
        """The same word in coordinates that begin at (-x, -y), cut to a box there."""
        return WordBox(self.text, shifted(self.box, x, y, within), self.confidence)


def word_boxes(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    picture: Image.Image,
    tokens: Sequence[int],
    token_logprobs: Sequence[float],
    *,
    prompt: Sequence[int],
    features: mx.array | None = None,
    maps: Maps | None = None,
) -> tuple[WordBox, ...]:
    """The words of generated tokens and where they stand in a picture, in the order of the text.

    It costs one pass of the decoder over all tokens at once. Boxes are made of whole patches.

    picture  -- as `load_image` gives it
    tokens   -- generated ids, whose text is split at spaces; token_logprobs -- of each
    prompt   -- the ids before them, the start token first
    features -- (1, S, D) of the encoder, where they are known
    maps     -- what `token_attentions` gives for these tokens, where that is known

    >>> from mlx_vedec import generate, load, load_image
    >>> model, processor = load()
    >>> picture = load_image("tests/data/lines/seen_006.png")
    >>> read = generate(model, processor, picture)
    >>> for word in word_boxes(
    ...     model, processor, picture, read.tokens, read.token_logprobs, prompt=[2]
    ... ):
    ...     print(word.text, word.box)
    wheel (0, 0, 66, 32)
    206,3 (66, 0, 126, 32)
    """
    if len(tokens) != len(token_logprobs):
        raise OptionError(
            f"{len(tokens)} tokens have {len(token_logprobs)} log-probabilities; expected one each"
        )
    words = words_of(processor.required_tokenizer, tokens)
    if not words:
        return ()
    geometry = geometry_of(processor, picture)
    grid = model.encoder.grid(geometry.size[1], geometry.size[0])
    if maps is None:
        if features is None:
            features = model.encode(processor.pixels([picture]))
        [maps] = token_attentions(model, features, [prompt], [tokens], grid)
    maps = distinct(maps)
    return tuple(
        WordBox(
            text,
            geometry.to_original(pixel_box(maps[indices], grid.cell)),
            math.exp(sum(token_logprobs[index] for index in indices) / len(indices)),
        )
        for text, indices in words
    )


def geometry_of(processor: Processor, picture: Image.Image) -> Geometry:
    """Where a picture's pixels are among those that the encoder sees."""
    if processor.image_processor is None:
        raise ConfigError("the processor has no image processor; give one to Processor(...)")
    return processor.image_processor.geometry(picture)


# From attention to boxes


def token_attentions(
    model: VisionEncoderDecoderModel,
    features: mx.array,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    grid: Grid,
) -> list[Maps]:
    """Where on its image each token of B texts looked, (T, rows, columns) each, for word boxes.

    It is the mean of the last layer's heads, in one pass of the decoder; features are (B, S, D). A
    row sums to 1 less what went to the prefix.
    """
    if not all(prompts):
        raise TokenError("the prompt is empty; expected the ids before the text, the start first")
    if features.shape[:2] != (len(texts), grid.features):
        raise ImageError(
            f"features are {tuple(features.shape)}, but the picture makes "
            f"{grid.prefix + grid.suffix} + {grid.rows}·{grid.columns} places; expected "
            f"({len(texts)}, {grid.features}, width); "
            "give those of this picture, from model.encode(processor.pixels([picture]))"
        )
    rows = [[*prompt, *tokens][:-1] for prompt, tokens in zip(prompts, texts, strict=True)]
    longest = max(map(len, rows))  # what stands behind a row's end changes nothing before it
    out = model(
        encoder_outputs=(features,),
        decoder_input_ids=mx.array([row + row[-1:] * (longest - len(row)) for row in rows]),
        output_attentions=True,
        use_cache=False,
    )
    assert isinstance(out, Seq2SeqLMOutput)
    assert out.cross_attentions
    last = out.cross_attentions[-1].astype(mx.float32).mean(axis=1)  # (B, P + T - 1, S)
    del out  # so that no other layer's weights are held while these are computed
    places = slice(grid.prefix, grid.features - grid.suffix)
    found = np.array(last)[..., places].reshape(len(rows), -1, grid.rows, grid.columns)
    return [  # a token is the answer to the one before it
        maps[len(prompt) - 1 : len(row)]
        for maps, prompt, row in zip(found, prompts, rows, strict=True)
    ]


def distinct(maps: Maps) -> Maps:
    """Maps (T, rows, columns) less their mean: what a token looks at more than the others do.

    So a place that all look at does not count. A token that looks where all look stays as it is.
    """
    own = np.maximum(maps - maps.mean(axis=0), 0)
    shares = own.sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    return np.where((shares > ALIKE)[:, None, None], own, maps)


def pixel_box(maps: Maps, cell: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box, in processed pixels, of maps (T, rows, columns) of cells (height, width)."""
    top, bottom = _span(maps.sum(axis=2))
    left, right = _span(maps.sum(axis=1))
    height, width = cell
    return left * width, top * height, right * width, bottom * height


def _span(profiles: Maps) -> tuple[int, int]:
    """First and end of the places (T, N) to which some token gives near its most."""
    near = profiles >= NEAR_PEAK * profiles.max(axis=1, keepdims=True)
    places = np.flatnonzero(near.any(axis=0))
    return int(places[0]), int(places[-1]) + 1
