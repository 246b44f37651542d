"""`mlx_vedec evaluate`: measure how well a model reads images, or pages, whose texts are known."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from .common import Progress, run, say
from .flags import (
    DATA,
    LOADING,
    NUMBER,
    YES,
    FlagParser,
    add_flag,
    add_generation_flags,
    add_shared,
    data_options,
    generation_options,
    loading_options,
)

if TYPE_CHECKING:
    import mlx.core as mx

    from ..measuring.evaluation import Evaluation
    from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
    from ..reading.processor import Processor

PROGRAM = "mlx_vedec evaluate"


def parser() -> argparse.ArgumentParser:
    """The flags; `generate`'s where it has one."""
    p = FlagParser(PROGRAM, description=__doc__)
    add_shared(p, "model", *LOADING)
    add_flag(p, "reference", "Another model to compare with.", "none", metavar="MODEL")
    add_shared(p, "data", required=True)
    add_flag(p, "split", "The split of the data, where it has several: train, valid or test.")
    add_shared(p, *DATA)
    layout = (
        "For pages: score and read the lines of these PAGE, ALTO or hOCR files, which have the "
        "images' names, in place of those that are found here."
    )
    add_flag(p, "layout", layout, metavar="FOLDER")
    add_shared(p, "batch_size", default=16)
    add_shared(p, "-p prompt", unset="the sample's own, else the checkpoint's")
    add_shared(p, "grammar")
    metrics = (
        "The metrics to compute, of cer, wer, mean_cer, mean_wer, exact_match, similarity, anls, "
        "field_f1 and tree_accuracy; for pages also line_f1, reading_order and true_lines_cer."
    )
    suited = "those that suit the model and the data"
    add_flag(p, "metrics", metrics, suited, nargs="+", metavar="NAME")
    form = "Bring all texts into this normal form before they are compared."
    add_flag(p, "unicode", form, "neither", choices=("NFC", "NFKC"))
    add_flag(p, "lowercase", "Compare texts without regard to their case.", **YES)
    add_flag(p, "ignore_punctuation", "Compare texts without their punctuation.", **YES)
    space = "Compare texts with a single space for each run of white space."
    add_flag(p, "collapse_whitespace", space, **YES)
    draws = "Random draws of the samples for the 95 % intervals; 0 leaves these out."
    add_flag(p, "bootstrap", draws, default=1000, **NUMBER)
    add_flag(p, "csv", "Write a table there, with a row for each sample.", metavar="FILE")
    worst = "Write a picture there of the samples with most edits."
    add_flag(p, "worst", worst, metavar="FILE.png")
    add_flag(p, "num_worst", "The number of samples in that picture.", default=20, **NUMBER)
    add_shared(p, "json")
    add_generation_flags(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 where an image could not be read."""
    return run(parser(), _evaluate, argv)


def _evaluate(args: argparse.Namespace) -> int:
    import mlx.core as mx

    from ..measuring.evaluation import compare
    from .evaluation_report import as_json, as_text, write_csv, write_worst

    _check_files(args)
    group = mx.distributed.init()
    found = [_read(args, group)]
    if args.reference is not None:
        found.append(_read(args, group, reference=True))
    evaluations = [evaluation for _, evaluation in found]
    code = int(any(evaluation.unread for evaluation in evaluations))
    if group.rank():
        return code
    settings = {"bootstrap": args.bootstrap, "seed": args.seed or 0}
    gained = compare(*evaluations, **settings) if args.reference is not None else {}
    print((as_json if args.json else as_text)(found, gained), flush=True)
    for name, evaluation in found:
        for row in evaluation.unread:
            say(f"{PROGRAM}: warning: {name}: {row.where}: {row.error}")
    if args.csv is not None:
        write_csv(Path(args.csv), evaluations[0])
    if args.worst is not None:
        write_worst(Path(args.worst), evaluations[0], args.num_worst)
    return code


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what cannot be written, before the work is done."""
    if args.worst is not None and Path(args.worst).suffix.lower() != ".png":
        raise OptionError(f"--worst is {args.worst}; expected a file that ends in .png")
    if args.num_worst < 1:
        raise OptionError(f"--num-worst is {args.num_worst}; expected 1 or more")
    for name in filter(None, (args.csv, args.worst)):
        if not Path(name).parent.is_dir():
            raise OptionError(f"the folder of {name} does not exist; expected one; make it")


def _read(
    args: argparse.Namespace, group: mx.distributed.Group, *, reference: bool = False
) -> tuple[str, Evaluation]:
    """The evaluation of the model, or of the one it is compared with, and its name."""
    import mlx.core as mx

    from ..reading.load import load

    model_name = args.reference if reference else args.model
    how = {"dtype": args.dtype} if reference else loading_options(vars(args))
    model, processor = load(model_name, **how)
    if args.seed is not None:
        mx.random.seed(args.seed)
    options = _evaluating(args, group)
    evaluation = _of_pages(args, model, processor, options) or _of_samples(
        args, model, processor, options
    )
    name = model_name or "bundled model"
    return f"{name} + {args.adapter_path}" if how.get("adapter_path") else name, evaluation


def _evaluating(args: argparse.Namespace, group: mx.distributed.Group) -> dict[str, Any]:
    """The options that samples and pages have in common."""
    from ..text.error_rates import Normalization

    return {
        "batch_size": args.batch_size,
        "metrics": args.metrics,
        "normalization": Normalization(
            unicode=args.unicode,
            lowercase=args.lowercase,
            ignore_punctuation=args.ignore_punctuation,
            collapse_whitespace=args.collapse_whitespace,
        ),
        "bootstrap": args.bootstrap,
        "seed": args.seed or 0,
        "prompt": args.prompt,
        "group": group,
        "grammar": args.grammar,
        **generation_options(args),
    }


def _of_pages(
    args: argparse.Namespace,
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: dict[str, Any],
) -> Evaluation | None:
    """The evaluation of a folder of pages with their layouts; None where the data is no such."""
    from ..measuring.page_evaluation import evaluate_pages, page_sheets

    of_samples = [name for name in ("split", *DATA) if vars(args)[name] is not None]
    pages = [] if of_samples else page_sheets(args.data)
    if not pages:
        _check_no_pages(args, of_samples)
        return None
    shown = Progress(len(pages)) if options["group"].size() == 1 else None
    progress = shown and (lambda page: shown.step(page.name))
    return evaluate_pages(model, processor, pages, layout=args.layout, progress=progress, **options)


def _check_no_pages(args: argparse.Namespace, of_samples: Sequence[str]) -> None:
    """Refuse what is for pages alone, where the data are read as samples.

    of_samples -- names of the given flags that have them read so
    """
    from ..measuring.page_evaluation import OF_LINES
    from ..measuring.page_scores import TRUE_LINES

    asked = [name for name in args.metrics or () if name in (*OF_LINES, TRUE_LINES)]
    given = ["--layout"] * (args.layout is not None) + asked
    if given:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in of_samples)
        why = f"{args.data} has none with their layouts"
        if flags:
            why = f"{flags} has each line read as a sample; leave it out to read whole pages"
        raise OptionError(f"{given[0]} is for pages; {why}")


def _of_samples(
    args: argparse.Namespace,
    model: VisionEncoderDecoderModel,
    processor: Processor,
    options: dict[str, Any],
) -> Evaluation:
    """The evaluation of images with their texts."""
    from ..data.datasets import load_dataset
    from ..measuring.evaluation import evaluate
    from ..tasks.donut_prompts import added_vocabulary

    added_vocab = added_vocabulary(processor.required_tokenizer)
    chosen = {"split": args.split, **data_options(vars(args))}
    dataset = load_dataset(args.data, added_vocab=added_vocab, **chosen)
    shown = Progress(len(dataset)) if options["group"].size() == 1 else None
    progress = shown and (lambda result: shown.step(result.text[:40]))
    return evaluate(model, processor, dataset, progress=progress, **options)
