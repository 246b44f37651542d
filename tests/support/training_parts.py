"""A tiny model, its processor and a few pictures with texts, for what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image
from tokenizers import (
    AddedToken,
    Tokenizer as Backend,
    decoders,
    models,
    pre_tokenizers,
    processors,
)

from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.images.image_processors import ImageProcessor
from mlx_vedec.model.vision_encoder_decoder import VisionEncoderDecoderModel
from mlx_vedec.reading.processor import Processor
from mlx_vedec.text.tokenizer import Tokenizer
from tests.support.tiny import tiny_model

BOS, PAD, EOS, UNK = range(4)
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", "Ġ"]  # a byte-level space
IDS = {"bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": EOS}


def tokenizer(added: Sequence[str] = ()) -> Tokenizer:
    """Letters and a space, `<s>` … `</s>` around them as RoBERTa has it; 31 tokens and `added`."""
    vocabulary = {token: id for id, token in enumerate([*SPECIAL, *LETTERS])}
    backend = Backend(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(
        ("</s>", EOS), ("<s>", BOS), add_prefix_space=False
    )
    backend.add_special_tokens(SPECIAL)
    backend.add_tokens([AddedToken(token, normalized=False) for token in added])
    names = ("bos_token", "pad_token", "eos_token", "unk_token")
    return Tokenizer(backend.to_str().encode(), dict(zip(names, SPECIAL, strict=True)))


def processor(added: Sequence[str] = (), kind: type[Processor] = Processor) -> Processor:
    return kind(ImageProcessor(size={"height": 16, "width": 16}), tokenizer(added))


def model(**generation: int) -> VisionEncoderDecoderModel:
    """A random one that starts from `</s>`, for 37 tokens and 20 positions."""
    made = tiny_model()
    for name, value in IDS.items():
        setattr(made.config, name, value)
    made.generation_config = GenerationConfig(**{**IDS, **generation})
    return made


def writes_first(made: VisionEncoderDecoderModel, token: int) -> None:
    """Make a model answer with a token, whatever it sees."""
    bias = mx.zeros(made.decoder.config.vocab_size).at[token].add(1e4)
    head = made.decoder.head
    made.decoder.head = lambda x: head(x) + bias  # pyright: ignore[reportAttributeAccessIssue]


def picture(number: int = 0, size: tuple[int, int] = (24, 12)) -> Image.Image:
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def pictures(folder: Path, count: int, suffix: str = ".png") -> list[Path]:
    paths = [folder / f"{number:03}{suffix}" for number in range(count)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        picture(number).save(path)
    return paths
