"""What the functions of the room take."""

import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.measuring.arguments import MOST, check_arguments, listed_images

RIGHT = {
    "batch_size": (1, MOST),
    "warmup": (0,),
    "seed": (0, 2**64 - 1),
    "sizes": ((1, 2),),
    "labels": (["tea", ""], ()),
    "images": (["a.png"], iter(())),
    "dataset": ([],),
}
WRONG = {
    "batch_size": (0, MOST + 1, True, 1.0, "x"),
    "warmup": (-1, None),
    "seed": (-1, 2**64),
    "sizes": ((1,), (1, 2, 3), (0, 1), (1, 0), [1, 2], "ab"),
    "labels": ("tea", [1], 5),
    "images": ("a.png", b"x", {"a": 1}, 5),
    "dataset": ([5], "x", None),
    "clock": (5,),
}


def each(values):
    return [(name, value) for name, several in values.items() for value in several]


@pytest.mark.parametrize(("name", "value"), each(RIGHT))
def test_what_fits(name, value):
    check_arguments(**{name: value})


@pytest.mark.parametrize(("name", "value"), each(WRONG))
def test_what_does_not(name, value):
    with pytest.raises(OptionError, match=f"^{name} is .*; expected "):
        check_arguments(**{name: value})


def test_none_where_it_may_be():
    check_arguments("seed", seed=None)
    with pytest.raises(OptionError, match="seed is None"):
        check_arguments("warmup", seed=None)


def test_messages_are_bounded():
    with pytest.raises(OptionError) as caught:
        check_arguments(
            seed=10**4000,
        )
    assert len(str(caught.value)) < 200


def test_one_image_is_a_list_of_it():
    assert listed_images("a.png") == ["a.png"] and listed_images(["a", "b"]) == ["a", "b"]
