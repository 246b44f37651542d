"""Flags: one text for one meaning, in plain sentences."""

from importlib import import_module

import pytest

from mlx_vedec.commands import COMMANDS

# Flags of one name that mean something of their own in these commands.
OWN = {
    "adapter_path": {"lora"},
    "config": {"lora", "convert"},
    "dry_run": {"upload"},
    "dtype": {"convert", "lora"},
    "image": {"benchmark"},
    "json": {"generate"},
    "max_tokens": {"benchmark"},
    "quantize": {"convert"},
    "revision": {"upload"},
    "seed": {"lora"},
    "warmup": {"lora", "benchmark"},
}
MINE = ("generate", "lora", "evaluate", "benchmark", "fuse", "inspect")


def actions(command):
    found = import_module(f"mlx_vedec.commands.{command}").parser()._actions
    return {a.dest: a.help for a in found if a.dest != "help"}


def test_flags_that_mean_the_same_have_the_same_text():
    said: dict[str, str] = {}
    for command in COMMANDS:
        for name, text in actions(command).items():
            if command not in OWN.get(name, ()):
                bare = text.partition(" (default: ")[0].rstrip(".")
                assert said.setdefault(name, bare) == bare, (command, name)


@pytest.mark.parametrize("command", MINE)
def test_texts_are_sentences(command):
    for name, text in actions(command).items():
        assert text[0].isupper() and text.endswith("."), (name, text)
