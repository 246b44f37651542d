"""Every option of transformers is honoured, changes no text, or is refused by its name."""

from __future__ import annotations

import inspect

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.generation.config import GenerationConfig
from mlx_vedec.generation.options import OPTIONS
from mlx_vedec.generation.resolve import HARMLESS, NOT_HERE, resolve
from mlx_vedec.model.generate import GenerationMixin
from tests.parity.reference import transformers

THEIRS = transformers.GenerationConfig().to_dict()
CALL = inspect.signature(transformers.GenerationMixin.generate).parameters
NAMES = sorted({*THEIRS, *CALL} - {"self", "inputs", "kwargs"})
OWN = inspect.signature(GenerationMixin.generate).parameters


def settle(config=None, **given):
    return resolve(GenerationConfig.from_dict(config or {}), given, limit=50)


@pytest.mark.parametrize("name", NAMES)
def test_an_option_has_one_of_three_ends(name):
    assert (name in OPTIONS) + (name in NOT_HERE) + (name in HARMLESS or name in OWN) == 1


@pytest.mark.parametrize("name", NOT_HERE)
def test_what_would_change_the_text_is_refused_by_name(name):
    neutral = NOT_HERE[name]
    other = "other" if neutral is None else not neutral if neutral is False else neutral + 1
    for config, given in (({}, {name: other}), ({name: other}, {})):
        with pytest.raises(OptionError, match=f"^{name}={other!r} is .*; pass {name}="):
            settle(config, **given)
    assert settle({name: other}, **{name: NOT_HERE[name]}) == settle(**{name: NOT_HERE[name]})


@pytest.mark.parametrize("name", HARMLESS)
def test_what_changes_no_text_is_taken(name):
    assert settle({name: 3}) == settle(**{name: "static"}) == settle()


def test_a_cache_that_rounds_is_refused():
    for config, given in (({}, {"cache_implementation": "quantized"}),) * 2:
        with pytest.raises(OptionError, match="pass cache_implementation=None and kv_bits="):
            settle(config, **given)


@pytest.mark.parametrize("form", [lambda theirs: theirs.to_dict(), lambda theirs: theirs])
def test_a_whole_config_of_theirs_is_taken(form):
    """With all that they leave at None, and with what older versions wrote out."""
    theirs = transformers.GenerationConfig(num_beams=4, length_penalty=2.0, eos_token_id=2)
    options = settle(generation_config=form(theirs))
    assert (options.num_beams, options.length_penalty, options.eos_token_ids) == (4, 2.0, (2,))
    older = {"diversity_penalty": 0.0, "num_beam_groups": 1, "num_assistant_tokens": 20}
    assert settle(generation_config={**older, "output_scores": False}) == settle()
    assert settle(generation_config={"of_years_to_come": None}) == settle()
    with pytest.raises(OptionError, match="of_years_to_come is not a generation option"):
        settle(generation_config={"of_years_to_come": 1})
