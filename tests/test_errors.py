"""What errors say of names and arguments, in bounded length."""

import numpy as np
import pytest

from mlx_vedec.errors import OptionError, check_function, check_type, check_whole, listed, nearest


def test_the_nearest_of_known_names_or_those_that_there_are():
    assert nearest("trian", ["train", "test"]) == "did you mean train?"
    assert nearest("x", ["train", "test"], "--help lists them") == "--help lists them"
    assert nearest(7, ["train"]) == "known are train"
    said = nearest("zzz", [f"{'n' * 10_000}{number}" for number in range(1000)])
    assert said.endswith(" and 900 more") and len(said) < 25_000
    assert len(nearest("n" * 10**6, ["n" * 300])) < 300


def test_of_many_names_the_first_are_listed():
    assert (
        listed([]) == ""
        and listed("abc", 3) == "a, b, c"
        and listed("abcd", 3) == "a, b, c and 1 more"
    )


@pytest.mark.parametrize(
    "value", [0, 1.0, True, "1", None, int, [1], np.zeros(3), np.ones(1), object()]
)
def test_what_is_no_whole_number(value):
    with pytest.raises(OptionError, match="rows is .*; expected a whole number, at least 1"):
        check_whole("rows", value, 1)
    check_whole("rows", np.int64(1), 1)


def test_types_and_functions():
    check_type("a", "x", (str, int))
    check_function("say", None)
    check_function("say", print)
    with pytest.raises(OptionError, match="a is None; expected a str or int"):
        check_type("a", None, (str, int))
    with pytest.raises(OptionError, match="say is 5; expected a function, or None"):
        check_function("say", 5)
