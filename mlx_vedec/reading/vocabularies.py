"""Another vocabulary for a model and its processor: learned from texts, or the part they need.

Adapters that were trained with another vocabulary than their base's have `vocabulary.json` beside
them, with the id that each token had in the base, and the tokenizer's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoints.config import read_json
from ..errors import ConfigError, TokenError, TrainingError, listed
from ..files import write_json
from ..model.vocabulary import named_ids, replace_tokens
from ..text import shrinking, vocabularies
from ..text.tokenizer import Tokenizer
from ..text.vocabularies import Vocabulary
from .generate import check_reader

if TYPE_CHECKING:
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from .processor import Processor

FILE = "vocabulary.json"


def new_vocabulary(
    model: VisionEncoderDecoderModel,
    processor: Processor,
    texts: Iterable[str],
    *,
    vocabulary_size: int | None = None,
) -> Vocabulary:
    """Give a model and its processor a vocabulary learned from texts, for a script that they lack.

    It has a token for each character, and with vocabulary_size also for frequent sequences, until
    there are so many. Special tokens stay, and tokens that the old vocabulary has too keep their
    rows in the embedding and the head. New rows are drawn at random and have to be trained: all
    weights are, or beside adapters `LoraConfig(train_modules=new_tokens.tables(model))`.
    """
    tokenizer, named = _read_by(model, processor)
    return _give(
        model,
        processor,
        vocabularies.learn_vocabulary(tokenizer, texts, size=vocabulary_size, named=named),
    )


def shrink_vocabulary(
    model: VisionEncoderDecoderModel, processor: Processor, texts: Iterable[str]
) -> Vocabulary:
    """Leave a model and its processor the tokens that texts need, and those of single characters.

    The texts become the same tokens as before, whose rows are as they were: the model computes the
    same logits for them. It can no longer write other tokens.
    """
    tokenizer, named = _read_by(model, processor)
    return _give(model, processor, shrinking.shrink_vocabulary(tokenizer, texts, named=named))


def _read_by(model: VisionEncoderDecoderModel, processor: Processor) -> tuple[Tokenizer, set[int]]:
    """The tokenizer, and the ids that the model's configs name; an error for quantized tables."""
    check_reader(model, processor)
    model.decoder.check_table("changing")
    return processor.required_tokenizer, named_ids(model)


def _give(
    model: VisionEncoderDecoderModel, processor: Processor, vocabulary: Vocabulary
) -> Vocabulary:
    """Make a vocabulary that of a model and its processor; a token without a row is a new one."""
    vocabulary = vocabulary.for_rows(model.config.decoder.vocab_size)
    replace_tokens(model, vocabulary.sources)
    processor.tokenizer = vocabulary.tokenizer
    return vocabulary


def save_vocabulary(vocabulary: Vocabulary | None, folder: Path) -> None:
    """Write a vocabulary beside adapters, or remove what a training that was given up has left."""
    if vocabulary is None:
        return (folder / FILE).unlink(missing_ok=True)
    vocabulary.tokenizer.save_pretrained(folder)
    return write_json(folder / FILE, {"rows": vocabulary.rows, "sources": vocabulary.sources})


def check_same(vocabulary: Vocabulary, folder: Path) -> None:
    """Raise `TrainingError` where a training that is resumed was begun with other tokens."""
    if not (folder / FILE).is_file():
        return
    begun = Tokenizer.from_pretrained(folder).backend.get_vocab()
    differs = {*begun.items()} ^ {*vocabulary.tokenizer.backend.get_vocab().items()}
    if differs:
        raise TrainingError(
            f"the texts have another vocabulary than the training in {folder} was begun with, as "
            f"in {listed(sorted({token for token, _ in differs}), 8)}; resume with the same data, "
            "or begin another training with another --adapter-path"
        )


def restore_vocabulary(
    model: VisionEncoderDecoderModel, processor: Processor, folder: str | Path
) -> Vocabulary | None:
    """Give the base of adapters the vocabulary they were trained with, if that is another one."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    check_reader(model, processor)
    tokenizer, saved = Tokenizer.from_pretrained(folder), read_json(path)
    rows, sources = saved.get("rows"), saved.get("sources")
    if not isinstance(sources, list) or not _are_ids(sources, rows, len(tokenizer)):
        raise ConfigError(
            f"{path} is not what lora writes; expected rows, and sources with an id or null for "
            f"each of the {len(tokenizer)} tokens of the tokenizer beside it"
        )
    if rows != model.config.decoder.vocab_size:
        raise TokenError(
            f"{path} is for a model of {rows} tokens, and this one has "
            f"{model.config.decoder.vocab_size}; expected the model that they were trained with"
        )
    return _give(model, processor, Vocabulary(tokenizer, tuple(sources)))


def _are_ids(sources: list[Any], rows: Any, count: int) -> bool:
    """Whether these are so many ids of rows, or null."""
    if type(rows) is not int or len(sources) != count:
        return False
    return all(id is None or (type(id) is int and 0 <= id < rows) for id in sources)
