"""The flags of `mlx_vedec lora`; none has a default here, so that a file can have it instead."""

from __future__ import annotations

import argparse
from typing import Any

from ..adapters.config import LoraConfig
from ..training.arguments import TrainingArguments
from .flags import DATA, EITHER, NUMBER, FlagParser, Parser, add_fields, add_flag, add_shared

DEFAULTS: dict[str, Any] = {
    "data": "data",
    "adapter_path": "adapters",
    "batch_size": 8,
    "test_batches": -1,
    "seed": 0,
}
RATES = {"lora": 1e-3, "dora": 1e-3, "full": 1e-4}  # measured with the bundled model
YES: Any = {"action": "store_true", "default": None}


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has one."""
    p = FlagParser(
        "mlx_vedec lora",
        description="Fine-tune a model on images and their texts, with adapters or as a whole.",
    )
    add_flag(p, "-c config", "A file of flags, YAML or JSON; flags here win.", metavar="FILE")
    add_shared(p, "model", "revision", "subfolder", "processor", "image_steps", "quantize")
    add_shared(p, "image_size")
    add_flag(p, "train", "Train on the data's split train.", **YES)
    add_flag(p, "test", "Evaluate on the data's split test, at the end.", **YES)
    add_flag(p, "adapter_path", "The folder of this training.", DEFAULTS["adapter_path"])
    add_flag(p, "resume", "Go on after the newest checkpoint in that folder.", **YES)
    add_flag(
        p,
        "resume_adapter_file",
        "Adapters to begin with, of ours or PEFT's.",
        "new ones",
        metavar="PATH",
    )
    add_shared(p, "json", default=None)
    _add_data(p.add_argument_group("data"))
    add_fields(p.add_argument_group("what is trained"), LoraConfig)
    rates = f"{RATES['lora']}, or {RATES['full']} with --fine-tune-type full"
    unset = {"iters": "1000", "learning_rate": rates}
    training = p.add_argument_group("training")
    add_fields(training, TrainingArguments, unset)
    add_flag(
        training,
        "report_to",
        "Where the reports go beside the terminal and the folder: tensorboard, wandb or both, of "
        "which each needs the package of its name.",
        nargs="+",
        metavar="NAME",
    )
    return p


def _add_data(g: Parser) -> None:
    add_shared(g, "data", unset=DEFAULTS["data"])
    add_shared(g, *DATA)
    form = "Bring the texts into this normal form of Unicode: NFC, NFD, NFKC or NFKD."
    add_flag(g, "normal_form", form, "they stay as they are", metavar="FORM")
    add_shared(g, "batch_size", unset=DEFAULTS["batch_size"])
    add_flag(g, "max_samples", "Train on this many samples, the first.", "all", **NUMBER)
    add_flag(
        g,
        "test_batches",
        "Batches of the split test that are evaluated; -1 is all.",
        DEFAULTS["test_batches"],
        **NUMBER,
    )
    add_flag(g, "mask_prompt", "Count no labels of the prompt.", **EITHER)
    add_flag(
        g,
        "augment",
        "Change images at random, such as rotate=2,blur=0.5,contrast=0.3,jpeg=30.",
        nargs="+",
        metavar="CHANGES",
    )
    add_flag(
        g,
        "add_tokens",
        "Give the tokenizer the tags that it lacks (Donut), and train the embedding.",
        **YES,
    )
    add_flag(
        g,
        "new_vocabulary",
        "Learn a vocabulary of characters from the texts of train, for a script that the tokenizer "
        "lacks, and train the embedding and the head.",
        **YES,
    )
    add_flag(
        g,
        "vocabulary_size",
        "With --new-vocabulary: tokens in all; frequent sequences of characters become tokens too.",
        "as many as there are characters",
        **NUMBER,
    )
    add_flag(
        g,
        "shrink_vocabulary",
        "Keep only the tokens that the texts of train need, which are cut as before.",
        **YES,
    )
