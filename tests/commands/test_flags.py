"""Flags: one text for one meaning, lists that add up, other names, errors of one line."""

from collections import defaultdict
from importlib import import_module

import pytest

from mlx_vedec import commands
from mlx_vedec.commands import COMMANDS, flags

# Flags of one name that mean something else in these commands than in the others.
OWN = {
    "adapter_path": {"lora"},  # the folder that it writes
    "compile": {"lora"},  # the step of training
    "config": {"lora"},  # a file of flags; convert changes fields of a config
    "layout": {"evaluate"},  # of many pages
    "dtype": {"convert", "lora"},  # to write; to compute in
    "image": {"benchmark"},  # repeated until the batch is full
    "json": {"generate"},  # an object for each image
    "max_tokens": {"benchmark", "export"},  # exactly so many; room for so many
    "path": {"export"},  # the folder to write
    "quantize": {"convert", "export"},  # write the result; take no number
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


LISTS = [
    (command, action)
    for command in COMMANDS
    for action in parser(command)._actions
    if action.nargs in ("+", "*") or isinstance(action.default, list)
]


def test_lists_are_some():
    assert {(command, action.dest) for command, action in LISTS} >= {
        *(("generate", "image"), ("generate", "option"), ("benchmark", "image")),
        *(("selfcheck", "family"), ("evaluate", "metrics"), ("convert", "images")),
        *(("convert", "verify"), ("convert", "config"), ("lora", "targets"), ("lora", "augment")),
    }


@pytest.mark.parametrize(("command", "action"), LISTS)
def test_a_list_that_is_given_twice_is_one_list(command, action):
    """Of every command; and no default is changed by it."""
    flags, flag = parser(command), action.option_strings[-1]
    needed = ["image"] if (command, action.dest) == ("generate", "option") else []
    needed += [w for a in flags._actions if a.required for w in (*a.option_strings[-1:], "x")]
    once = [flag, "a", "b"] if action.nargs else [flag, "a", flag, "b"]
    found = flags.parse_args([*needed, *once, flag, "c"])
    assert getattr(found, action.dest) == ["a", "b", "c"]
    assert getattr(flags.parse_args([*needed, flag, "d"]), action.dest) == ["d"]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--num_beams", "2"], "num_beams", 2),
        (["--num_beams=2"], "num_beams", 2),
        (["--max_new_tokens", "3"], "max_tokens", 3),
        (["--max-new-tokens=3"], "max_tokens", 3),
        (["--temperature", "0.5"], "temp", 0.5),
        (["--images", "a", "b"], "image", ["a", "b"]),
        (["a", "--split_lines", "b", "--image", "c"], "image", ["c", "a", "b"]),
        (["-"], "image", ["-"]),
        (["--json", "--", "a"], "image", ["a"]),
        (["--length-penalty", "2.0"], "option", ["length_penalty=2.0"]),
        (["--no_repeat_ngram_size=3"], "option", ["no_repeat_ngram_size=3"]),
        (["--do-sample", "--verbose"], "option", ["do_sample=true"]),
        (["--do_sample", "False", "x"], "option", ["do_sample=false"]),
    ],
)
def test_names_that_are_understood(words, name, value):
    found = parser("generate").parse_args(words if name == "image" else [*words, "--image=i"])
    assert getattr(found, name) == value


def test_sampling_in_transformers_names():
    """There a temperature is no sampling by itself; with `--temp` it is."""
    words = ["i", "--do_sample", "--temperature", "0.3"]
    options = flags.generation_options(parser("generate").parse_args(words))
    assert options == {"do_sample": True, "temperature": 0.3}


@pytest.mark.parametrize("words", [["x"], ["--model", "x"], ["--model=x", "--json"]])
def test_a_flag_for_what_has_a_place(words):
    assert parser("inspect").parse_args(words).model == "x"


def test_a_prompt_may_look_like_anything():
    found = parser("generate").parse_args(["--prompt=--num_beams", "i"])
    assert (found.prompt, found.num_beams) == ("--num_beams", None)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["generate", "x", "--num-bems", "2"], "--num-bems is no flag; did you mean --num-beams?"),
        (["evaluate", "--dtaa", "x"], "--dtaa is no flag; did you mean --data?"),  # which it lacks
        (["generate", "x", "--zzzzzz"], "--zzzzzz is no flag; --help lists the flags"),
        (["generate", "x", "--num-beams", "two"], "--num-beams: invalid int value: 'two'"),
        (["generate", "x", "--seed", "-1"], "'-1' is no seed; expected 0 to 2**64 - 1"),
        (["evaluate", "--data", "x", "--seed", str(2**64)], "is no seed; expected 0 to 2**64 - 1"),
        (["generate", "x", "--seed", "0" * 30 + "9" * 30], "is no seed; expected 0 to 2**64 - 1"),
        (["generate"], "the following arguments are required: --image"),
        (["convert", "org/model"], "required: --hf-path/--model"),
        (["convert", "--model", "x", "more"], "'more' belongs to no flag"),
        (["lora", "--leraning-rate", "1"], "did you mean --learning-rate?"),
        (["selfcheck", "--family"], "--family: expected at least one argument"),
        (["generate", "x", "--dtype", "x" * 9999], "invalid choice"),
    ],
)
def test_usage_errors_are_one_line(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main(argv)
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and said in err and err.count("\n") == 1
    assert err.startswith(f"mlx_vedec {argv[0]}: error: ") and len(err) < 1200


def test_the_largest_seed_is_one():
    assert parser("generate").parse_args(["x", "--seed", str(2**64 - 1)]).seed == 2**64 - 1
