"""Names that code written for transformers imports, as what they are here.

An `Auto…` class or a tokenizer's own class is one class here, which reads what a folder holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoints.hub import check_habits
from ..checkpoints.pretrained import one_of
from ..errors import CheckpointError, OptionError, check_type, shown
from ..images.image_processors import ImageProcessor
from ..layers.quantization_config import QuantizationConfig
from ..model.config import VisionEncoderDecoderConfig
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..text.tokenizer import Tokenizer
from .generate import batch_generate
from .load import BUNDLED
from .processor import Processor

AutoConfig = VisionEncoderDecoderConfig
AutoProcessor = Processor
AutoModelForImageTextToText = AutoModelForVision2Seq = VisionEncoderDecoderModel
AutoTokenizer = BartTokenizer = BartTokenizerFast = BertTokenizer = BertTokenizerFast = Tokenizer
CamembertTokenizer = CamembertTokenizerFast = GPT2Tokenizer = GPT2TokenizerFast = Tokenizer
MBartTokenizer = MBartTokenizerFast = PreTrainedTokenizerFast = RobertaTokenizer = Tokenizer
RobertaTokenizerFast = XLMRobertaTokenizer = XLMRobertaTokenizerFast = Tokenizer

TASKS = ("image-to-text", "image-text-to-text", "document-question-answering")
QUESTION = "<s_docvqa><s_question>{}</s_question><s_answer>"  # of Donut's checkpoints for DocVQA
AO_TYPES = {"int4_weight_only": 4, "int8_weight_only": 8}


def BitsAndBytesConfig(
    load_in_8bit: bool = False, load_in_4bit: bool = False, **options: Any
) -> QuantizationConfig:
    """Settings for `quantization_config=`: weights of 8 or of 4 bits, in MLX's own format.

    Further options that begin with `bnb_` or `llm_int8_` are of that library's formats, and change
    nothing here.
    """
    unknown = [name for name in options if not name.startswith(("bnb_", "llm_int8_"))]
    if unknown or load_in_8bit == load_in_4bit:
        raise OptionError(
            f"expected load_in_8bit=True or load_in_4bit=True, and got {unknown[0]}"
            if unknown
            else "expected one of load_in_8bit=True and load_in_4bit=True"
        )
    return QuantizationConfig(8 if load_in_8bit else 4)


BitsandBytesConfig = BitsAndBytesConfig  # as transformers' page on TrOCR spells it


def TorchAoConfig(
    quant_type: str, group_size: int | None = None, **options: Any
) -> QuantizationConfig:
    """Settings for `quantization_config=`: "int4_weight_only" or "int8_weight_only"."""
    check_type("quant_type", quant_type, str, f"one of {', '.join(AO_TYPES)}")
    if quant_type not in AO_TYPES or options:
        raise OptionError(
            f"quant_type is {str(quant_type)[:40]!r} with options {sorted(options)}; expected one "
            f"of {', '.join(AO_TYPES)}, and group_size alone"
        )
    return QuantizationConfig(AO_TYPES[quant_type], group_size)


class Pipeline:
    """Reads images with a checkpoint, and gives what transformers' pipelines give.

    >>> pipe = pipeline("image-to-text")
    >>> pipe("tests/data/lines/seen_006.png")
    [{'generated_text': 'wheel 206,3'}]
    """

    def __init__(self, task: str, model: VisionEncoderDecoderModel, processor: Processor) -> None:
        self.task, self.model, self.processor = task, model, processor

    def __call__(
        self, images: Any = None, *, image: Any = None, question: str | None = None, **options: Any
    ) -> list[Any]:
        """One image's `[{"generated_text": text}]`, or a list of these for a list of images.

        With document-question-answering an image and a question: `[{"answer": text}]`. options --
        those of `generate`, by themselves or as transformers' `generate_kwargs`.
        """
        images = image if images is None else images
        if images is None:
            raise OptionError("there is nothing to read; give images")
        options |= options.pop("generate_kwargs", None) or {}
        asks = self.task == "document-question-answering"
        if asks != (question is not None):
            raise OptionError(
                f"question is {question!r} with the task {self.task}; expected one with "
                "document-question-answering alone"
            )
        sources = [*images] if isinstance(images, (list, tuple)) else [images]
        if question is not None:
            options["prompts"] = [QUESTION.format(question)] * len(sources)
        found = []
        for result in batch_generate(self.model, self.processor, sources, **options):
            if result.error is not None:
                raise result.error
            answer = {"answer": _answer(result)} if asks else {"generated_text": result.text}
            found.append([answer])
        return found if isinstance(images, (list, tuple)) else found[0]


def _answer(result: Any) -> str:
    data = result.data if isinstance(result.data, dict) else {}
    return str(data.get("answer", result.text))


def pipeline(
    task: str | None = None,
    model: str | Path | VisionEncoderDecoderModel | None = None,
    *,
    processor: str | Path | Processor | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    image_processor: str | Path | ImageProcessor | None = None,
    feature_extractor: str | Path | ImageProcessor | None = None,
    torch_dtype: Any = None,
    dtype: Any = None,
    **habits: Any,
) -> Pipeline:
    """A `Pipeline` for a model, or for a folder or a Hub id; by default for the bundled model.

    task -- "image-to-text", the default, which transformers 5 calls "image-text-to-text", or
    "document-question-answering". processor, tokenizer and image_processor, of old called
    feature_extractor -- in place of those in the model's folder. `device`, `device_map` and the
    like are taken and change nothing.
    """
    task = "image-to-text" if task is None else task
    check_type("task", task, str, f"one of {', '.join(TASKS)}")
    if task not in TASKS:
        raise OptionError(f"task is {str(task)[:60]!r}; expected one of {', '.join(TASKS)}")
    known = {"device", "framework"}
    check_habits({name: value for name, value in habits.items() if name not in known})
    wanted = one_of(dtype, torch_dtype, "dtype and torch_dtype")
    images = one_of(image_processor, feature_extractor, "image_processor and feature_extractor")
    if isinstance(model, VisionEncoderDecoderModel):
        own = model if wanted is None else model.astype(wanted)
        source = model.source if processor is None else processor
    else:
        source = BUNDLED if model is None else model
        own = VisionEncoderDecoderModel.from_pretrained(source, dtype=wanted)
        source = source if processor is None else processor
    return Pipeline(task, own, _processor(source, tokenizer, images))


def _processor(source: Any, tokenizer: Any, images: Any) -> Processor:
    """A processor, or that of a folder or a Hub id, with other parts in place of its own."""
    if isinstance(tokenizer, (str, Path)):
        tokenizer = Tokenizer.from_pretrained(tokenizer)
    if isinstance(images, (str, Path)):
        images = ImageProcessor.from_pretrained(images)
    for name, part, kind in (
        ("tokenizer", tokenizer, Tokenizer),
        ("image_processor", images, ImageProcessor),
    ):
        if not isinstance(part, kind | None):
            raise OptionError(
                f"{name} is {shown(part)}; expected a folder, a Hub id or a {kind.__name__}"
            )
    if isinstance(source, Processor):
        reads = source
    elif source is None and (tokenizer is None or images is None):
        raise OptionError("the model is of no folder; give a processor too")
    else:
        try:
            reads = Processor() if source is None else Processor.from_pretrained(source)
        except CheckpointError:
            if tokenizer is None or images is None:
                raise
            reads = Processor()
    return type(reads)(images or reads.image_processor, tokenizer or reads.tokenizer)
