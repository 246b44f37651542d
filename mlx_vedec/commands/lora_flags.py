"""The flags of `mlx_vedec lora`; none has a default here, so that a file can have it instead."""

from __future__ import annotations

import argparse
from typing import Any

from .shared_flags import BUNDLED_MODEL, JSON, QUANTIZE, REVISION

Group = argparse._ArgumentGroup

# name, type or choices, help; the defaults of `TrainingArguments` and `LoraConfig` are in brackets
ADAPTERS = (
    ("fine_tune_type", ("lora", "dora", "full"), "what is trained: adapters, or all itself (lora)"),
    ("rank", int, "rank of adapters (8)"),
    ("scale", float, "what adapters are multiplied with (2.0)"),
    ("alpha", float, "the same as scale times rank, as PEFT has it"),
    ("rslora", bool, "divide alpha by the rank's root"),
    ("dropout", float, "of what adapters read, in training (0.0)"),
    ("num_layers", int, "train the last blocks of each half; -1 for all (-1)"),
    ("targets", list, "encoder, decoder, attention, cross, mlp, all, or globs of layers (all)"),
    ("embeddings", bool, "an adapter for the table of tokens too"),
    ("train_biases", bool, "train the biases of layers with adapters"),
    ("train_norms", bool, "train the norms beside them"),
    ("train_modules", list, "globs of modules that are trained themselves"),
)
UPDATES = (
    ("iters", int, "updates in all (1000)"),
    ("epochs", int, "or passes over the data"),
    ("learning_rate", float, "by default 1e-3, or 1e-4 for --fine-tune-type full"),
    ("optimizer", ("adamw", "adam", "adafactor", "muon", "sgd", "lion"), "(adamw)"),
    ("weight_decay", float, "of matrices (0.01)"),
    ("decay_all", bool, "of norms and biases too"),
    ("momentum", float, "of sgd (0.9)"),
    ("schedule", ("constant", "linear", "cosine"), "of the learning rate (constant)"),
    ("final_rate", float, "where linear and cosine end (0.0)"),
    ("warmup", int, "updates up to the learning rate (0)"),
    ("warmup_init", float, "where warmup begins (0.0)"),
    ("grad_accumulation_steps", int, "batches of each update (1)"),
    ("max_grad_norm", float, "scale gradients down to this norm; 0 never (1.0)"),
    ("grad_checkpoint", bool, "less memory, more time"),
    ("label_smoothing", float, "part of a label that is spread over the vocabulary (0.0)"),
    ("dtype", ("float32", "float16", "bfloat16"), "to compute in; by default the model's"),
    ("ema", float, "decay of an average of the weights, which is then what is kept"),
    ("compile", bool, "fuse the step; by default on a GPU"),
    ("seed", int, "of adapters, order, changes and dropout (0)"),
)
REPORTS = (
    ("val_batches", int, "of the validation data in each evaluation; -1 for all (25)"),
    ("generate", bool, "read the validation data too: the lowest CER is kept, not the lowest loss"),
    ("steps_per_report", int, "updates between lines of the table (10)"),
    ("steps_per_eval", int, "updates between evaluations; 0: at the end (200)"),
    ("save_every", int, "updates between checkpoints; 0: at the end (100)"),
    ("keep_checkpoints", int, "how many of the newest stay (2)"),
    ("patience", int, "stop after so many evaluations without a better one"),
)


def parser() -> argparse.ArgumentParser:
    """The flags, under mlx-lm's names where it has one."""
    p = argparse.ArgumentParser(
        "mlx_vedec lora",
        description="Fine-tune a model on images and their texts, with adapters or as a whole.",
    )
    _add_what(p)
    _add_data(p.add_argument_group("data"))
    groups = (("what is trained", ADAPTERS), ("updates", UPDATES), ("reports", REPORTS))
    for title, flags in groups:
        group = p.add_argument_group(title)
        for name, kind, help in flags:
            group.add_argument(f"--{name.replace('_', '-')}", help=help, **_of_kind(kind))
    return p


def _of_kind(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction, "default": None}
    if kind is list:
        return {"nargs": "+", "metavar": "NAME"}
    return {"choices": kind} if isinstance(kind, tuple) else {"type": kind}


def _add_what(p: argparse.ArgumentParser) -> None:
    yes: Any = {"action": "store_true", "default": None}
    p.add_argument("-c", "--config", metavar="FILE", help="YAML or JSON of flags; flags here win")
    p.add_argument("--model", help=BUNDLED_MODEL)
    p.add_argument("--revision", help=REVISION)
    p.add_argument("--quantize", type=int, metavar="BITS", help=QUANTIZE)
    p.add_argument("--train", help="train on the data's split train", **yes)
    p.add_argument("--test", help="evaluate on its split test, at the end", **yes)
    p.add_argument("--adapter-path", help="the folder of this training (adapters)")
    p.add_argument("--resume", help="go on after the newest checkpoint there", **yes)
    p.add_argument(
        "--resume-adapter-file",
        metavar="PATH",
        help="begin with these adapters, of ours or PEFT's, and not with new ones",
    )
    p.add_argument("--json", help=JSON, **yes)


def _add_data(g: Group) -> None:
    g.add_argument("--data", metavar="DIR", help="a folder with splits: see LORA.md (data)")
    g.add_argument("--batch-size", type=int, help="images of each batch (8)")
    g.add_argument("--max-samples", type=int, help="train on so many, the first")
    g.add_argument("--test-batches", type=int, help="of the split test; -1 for all (-1)")
    g.add_argument(
        "--mask-prompt",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="count no labels of the prompt",
    )
    g.add_argument(
        "--augment", metavar="CHANGES", help="such as rotate=2,blur=0.5,contrast=0.3,jpeg=30"
    )
    g.add_argument(
        "--add-tokens",
        action="store_true",
        default=None,
        help="give the tokenizer the tags that it lacks (Donut), and train the embedding",
    )
