"""`mlx_vedec evaluate`: how well a model reads data whose texts are known."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .common import Progress, run
from .flags import add_generation_flags, generation_options

if TYPE_CHECKING:
    import mlx.core as mx

    from ..measuring.evaluation import Evaluation

PROGRAM = "mlx_vedec evaluate"


def parser() -> argparse.ArgumentParser:
    """The flags; `generate`'s where it has one."""
    p = argparse.ArgumentParser(PROGRAM, description=__doc__)
    p.add_argument("--model", help="a folder or a Hub id; without it, the bundled line reader")
    p.add_argument("--adapter-path", help="a folder of adapters for the model")
    p.add_argument("--quantize", type=int, metavar="BITS", help="the model as it is loaded")
    p.add_argument("--reference", metavar="MODEL", help="another model to compare with")
    p.add_argument("--data", required=True, help="a folder or a table of images with their texts")
    p.add_argument("--split", help="of the data: train, valid or test")
    p.add_argument("--metrics", nargs="+", metavar="NAME", help="what to measure, by name")
    p.add_argument("--unicode", choices=("NFC", "NFKC"), help="compare texts in this normal form")
    p.add_argument("--lowercase", action="store_true", help="upper and lower case are the same")
    p.add_argument("--ignore-punctuation", action="store_true", help="punctuation does not count")
    p.add_argument(
        "--collapse-whitespace", action="store_true", help="any white space is one space"
    )
    p.add_argument(
        "--bootstrap", type=int, default=1000, help="draws for the intervals (1000); 0: none"
    )
    p.add_argument("--csv", metavar="FILE", help="write a row per sample")
    p.add_argument("--worst", metavar="FILE.png", help="write an image of the worst samples")
    p.add_argument("--num-worst", type=int, default=20, help="how many of them (20)")
    p.add_argument("-p", "--prompt", help="for samples that have none of their own")
    p.add_argument("--grammar", action="store_true", help="only well-formed tags (Donut)")
    add_generation_flags(p)
    p.add_argument("--batch-size", type=int, default=16, help="images decoded at once (16)")
    p.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of the weights; by default the file's, float32 on a CPU",
    )
    p.add_argument("--revision", help="branch, tag or commit of a Hub id")
    p.add_argument("--json", action="store_true", help="the metrics as one JSON object")
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
            print(f"{PROGRAM}: warning: {name}: {row.where}: {row.error}", file=sys.stderr)
    if args.csv is not None:
        write_csv(Path(args.csv), evaluations[0])
    if args.worst is not None:
        write_worst(Path(args.worst), evaluations[0], args.num_worst)
    return code


def _check_files(args: argparse.Namespace) -> None:
    """Refuse what cannot be written, before the work is done."""
    from ..errors import OptionError

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

    from ..data.datasets import load_dataset
    from ..measuring.evaluation import evaluate
    from ..reading.pipeline import load
    from ..tasks.donut_prompts import added_vocabulary
    from ..text.error_rates import Normalization

    model_name = args.reference if reference else args.model
    own = () if reference else ("adapter_path", "revision", "quantize")
    given = {name: getattr(args, name) for name in own if getattr(args, name) is not None}
    model, processor = load(model_name, dtype=args.dtype, **given)
    dataset = load_dataset(
        args.data, split=args.split, added_vocab=added_vocabulary(processor.reader)
    )
    if args.seed is not None:
        mx.random.seed(args.seed)
    shown = Progress(len(dataset)) if group.size() == 1 else None
    evaluation = evaluate(
        model,
        processor,
        dataset,
        batch_size=args.batch_size,
        metrics=args.metrics,
        normalization=Normalization(
            unicode=args.unicode,
            lowercase=args.lowercase,
            ignore_punctuation=args.ignore_punctuation,
            collapse_whitespace=args.collapse_whitespace,
        ),
        bootstrap=args.bootstrap,
        seed=args.seed or 0,
        prompt=args.prompt,
        group=group,
        progress=shown and (lambda result: shown.step(result.text[:40])),
        grammar=args.grammar,
        **generation_options(args),
    )
    name = model_name or "bundled model"
    return f"{name} + {args.adapter_path}" if "adapter_path" in given else name, evaluation
