"""Flags: one text for one meaning, lists that add up, names that are understood, one line of error."""

from collections import defaultdict
from importlib import import_module

import pytest

from mlx_vedec.commands import COMMANDS

# Flags of one name that mean something else in these commands than in the others.
OWN = {
    "adapter_path": {"lora"},  # the folder that it writes
    "config": {"lora"},  # a file of flags; convert changes fields of a config
    "dtype": {"convert", "lora"},  # to write; to compute in
    "image": {"benchmark"},  # repeated until the batch is full
    "json": {"generate"},  # an object for each image
    "max_tokens": {"benchmark"},  # exactly so many
    "quantize": {"convert"},  # writes the result; takes no number
    "revision": {"upload"},  # the branch to write to
    "seed": {"lora"},  # of much more than sampling
    "warmup": {"lora"},  # of the learning rate
}


def parser(command):
    return import_module(f"mlx_vedec.commands.{command}").parser()


def texts():
    """The help of each flag, or argument, by its name and by command."""
    found = defaultdict(dict)
    for command in COMMANDS:
        for action in parser(command)._actions:
            if action.dest != "help":
                found[action.dest][command] = action.help
    return found


TEXTS = texts()


@pytest.mark.parametrize("name", TEXTS)
def test_a_flag_says_the_same_in_a_sentence_everywhere(name):
    """But for the default, which stands in brackets at the end."""
    said = {
        command: text.partition(" (default: ")[0].rstrip(".")
        for command, text in TEXTS[name].items()
    }
    shared = {text for command, text in said.items() if command not in OWN.get(name, ())}
    assert len(shared) <= 1 and not shared & {said[command] for command in OWN.get(name, ())}
    assert all(text[0].isupper() and text.endswith(".") for text in TEXTS[name].values())
