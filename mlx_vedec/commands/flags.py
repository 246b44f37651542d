"""The flags that are generation options, which the commands that generate share."""

from __future__ import annotations

import argparse
import json
from typing import Any

FLAGS = (
    *("max_tokens", "temp", "top_p", "top_k", "min_p", "num_beams"),
    *("max_kv_size", "kv_bits", "kv_group_size"),
)


def add_generation_flags(p: argparse.ArgumentParser) -> None:
    """Give a parser the options by mlx-lm's names, the seed, and any other option by its own."""
    p.add_argument("-m", "--max-tokens", type=int, help="most tokens per image or piece of a line")
    p.add_argument("--temp", type=float, help="0 is greedy, above 0 samples")
    p.add_argument("--top-p", type=float, help="sample from the likeliest tokens of this mass")
    p.add_argument("--top-k", type=int, help="sample from this many likeliest tokens")
    p.add_argument(
        "--min-p", type=float, help="sample from tokens this likely beside the likeliest"
    )
    p.add_argument("--seed", type=int, help="of sampling")
    p.add_argument("--num-beams", type=int, help="beams of each image")
    p.add_argument("--max-kv-size", type=int, help="tokens that each row remembers")
    p.add_argument("--kv-bits", type=int, help="quantize keys and values to 8 or 4 bits")
    p.add_argument("--kv-group-size", type=int, help="in groups of 32, 64 or 128")
    p.add_argument(
        "-o",
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other generation option, its value in JSON: no_repeat_ngram_size=3",
    )


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
    """The generation options of the flags that were given."""
    from ..errors import OptionError

    options = {name: getattr(args, name) for name in FLAGS if getattr(args, name) is not None}
    for text in args.option:
        name, equals, value = text.partition("=")
        if not equals or name in options:
            raise OptionError(f"--option {text!r}; expected NAME=VALUE, each name once")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
