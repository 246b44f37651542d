"""What `--help` says of flags."""

import re
from collections import defaultdict
from importlib import import_module

import pytest

from mlx_vedec.commands import COMMANDS

# Flags of one name that mean something else in these commands than in the others.
OTHER_MEANING = {
    "--adapter-path": {"lora"},  # the folder that it writes
    "--batch-size": {"lora"},  # images of a step of training
    "--config": {"lora"},  # a file of flags; convert changes fields of a config
    "--data": {"lora"},  # has splits
    "--dtype": {"convert", "lora"},  # to write; to compute in
    "--image": {"benchmark"},  # repeated until the batch is full
    "--json": {"generate"},  # an object for each image
    "--max-tokens": {"benchmark"},  # exactly so many
    "--quantize": {"convert"},  # writes the result; takes no number
    "--revision": {"upload"},  # the branch to write to
    "--seed": {"lora"},  # of much more than sampling
    "--warmup": {"lora"},  # of the learning rate
}


def texts():
    """The help of each flag, or argument, by its long names and by command."""
    found = defaultdict(dict)
    for command in COMMANDS:
        for action in import_module(f"mlx_vedec.commands.{command}").parser()._actions:
            for name in action.option_strings or [f"--{action.dest}"]:
                if name.startswith("--") and not name.startswith("--no-"):
                    found[name][command] = action.help
    del found["--help"]
    return dict(found)


TEXTS = texts()
SHARED = {
    flag: {
        command: text
        for command, text in by_command.items()
        if command not in OTHER_MEANING.get(flag, ())
    }
    for flag, by_command in TEXTS.items()
}


@pytest.mark.parametrize("flag", [flag for flag, shared in SHARED.items() if len(shared) > 1])
def test_a_flag_says_the_same_everywhere(flag):
    """But for the default, which stands in brackets at the end."""
    said = {re.sub(r" \(default: [^()]*\)\.$", ".", text) for text in SHARED[flag].values()}
    assert len(said) == 1, said


def test_exceptions_are_some():
    for flag, commands in OTHER_MEANING.items():
        said = {TEXTS[flag][command] for command in commands}
        assert commands < TEXTS[flag].keys() and not said & set(SHARED[flag].values()), flag


def test_every_flag_has_a_text():
    assert all(text for by_command in TEXTS.values() for text in by_command.values())
