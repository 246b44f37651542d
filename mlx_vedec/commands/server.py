"""`mlx_vedec server`: read the images that clients send, as OpenAI's API has it."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from ..errors import OptionError, as_path
from .common import run, say, text_of
from .flags import (
    LOADING,
    YES,
    FlagParser,
    add_fields,
    add_flag,
    add_option,
    add_shared,
    loading_options,
)

if TYPE_CHECKING:
    from ..server.server import Server

PROGRAM = "mlx_vedec server"
KEY = "MLX_VEDEC_API_KEY"
DEFAULTS = ("temp", "top_p", "top_k", "min_p", "max_tokens")  # where a request does not say
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def parser() -> argparse.ArgumentParser:
    """The flags; mlx-lm's where it has one."""
    from ..server.limits import Limits

    p = FlagParser(PROGRAM, description=__doc__)
    add_shared(p, "model", *LOADING)
    add_flag(
        p, "host", "The address to listen at; 0.0.0.0 is all of this machine.", default="127.0.0.1"
    )
    add_flag(
        p,
        "port",
        "The port to listen at; 0 is any that is free.",
        default=8080,
        type=int,
        metavar="N",
    )
    add_flag(
        p,
        "api_key",
        f"A key that clients have to name. Other users of the machine see it here: {KEY} in the "
        "environment and --api-key-file do the same.",
        "no key is asked for",
        metavar="KEY",
    )
    add_flag(p, "api_key_file", "A file with keys, one on each line.", metavar="FILE")
    add_flag(
        p,
        "cors",
        "Origins of other sites whose pages may ask, such as https://example.org.",
        "none",
        nargs="+",
        metavar="ORIGIN",
    )
    add_flag(
        p,
        "allow_host",
        "Names that the server may be asked by, besides addresses and localhost.",
        "none",
        nargs="+",
        metavar="NAME",
    )
    add_flag(p, "allow_urls", "Download images from public http(s) addresses in requests.", **YES)
    add_flag(
        p,
        "corrections",
        "The folder that pages corrected in the browser are written to, for `mlx_vedec lora`.",
        "they are not saved",
        metavar="FOLDER",
    )
    add_fields(p, Limits)
    for name in DEFAULTS:
        add_option(p, name)
    add_flag(
        p,
        "log_level",
        "What is told on stderr: INFO tells each request, without what is in it.",
        default="WARNING",
        choices=("INFO", "WARNING", "ERROR"),
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where the server was stopped."""
    return run(parser(), _serve, argv)


def _serve(args: argparse.Namespace) -> int:
    from ..generation.resolve import ALIASES
    from ..reading.load import load
    from ..server.limits import Limits
    from ..server.server import Server, check_address

    given = {f.name: getattr(args, f.name) for f in fields(Limits)}
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    keys = _keys(args)
    check_address(args.host, args.port)  # before a model is loaded, which may take long
    _log(args.log_level)
    model, processor = load(args.model, **loading_options(vars(args)))
    for name in DEFAULTS:
        if getattr(args, name) is not None:
            setattr(model.generation_config, ALIASES.get(name, name), getattr(args, name))
    model.generation_options()  # which are in force is known to be right before a request comes
    server = Server(
        model,
        processor,
        name="bundled" if args.model is None else model.name_or_path,
        host=args.host,
        port=args.port,
        limits=limits,
        api_keys=keys,
        cors=args.cors or (),
        hosts=args.allow_host or (),
        allow_urls=args.allow_urls,
        corrections=args.corrections,
    )
    if args.host not in LOOPBACK and not keys:
        say(f"{PROGRAM}: warning: whoever reaches {args.host} can ask; give --api-key-file")
    if server.service.problem is not None:
        say(f"{PROGRAM}: warning: {server.service.problem}; corrections are not saved")
    _stop_by_signals(server)
    server.run(lambda: print(f"listening at {server.url}", flush=True))
    return 0


def _keys(args: argparse.Namespace) -> list[str]:
    """The keys of the flags, the file and the environment."""
    from ..server.access import checked_keys

    keys = [key for key in (args.api_key, os.environ.get(KEY)) if key is not None]
    if args.api_key_file is not None:
        path = as_path(args.api_key_file, "api_key_file")
        lines = text_of(path, "one with a key on each line").splitlines()
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise OptionError(f"{path} has no keys; expected one on each line")
        keys += found
    return checked_keys(keys)


def _log(level: str) -> None:
    """Print what the server logs of each request, where that is wanted."""
    log, out = logging.getLogger("mlx_vedec"), logging.StreamHandler(sys.stderr)
    log.setLevel(level)
    out.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    out.addFilter(lambda record: record.levelno < logging.WARNING)  # those are printed anyway
    log.addHandler(out)


def _stop_by_signals(server: Server) -> None:
    """Let SIGTERM and Ctrl-C end what is being read first; the second one ends it at once."""

    def stop(*_: object) -> None:
        if server.service.stopping:
            raise KeyboardInterrupt
        server.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
