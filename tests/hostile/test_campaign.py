"""A short seed of the campaign, and what the campaign itself has to do."""

import os
import subprocess
import sys
import time
from random import Random

import pytest

from tests.conftest import ROOT
from tests.hostile.limits import fault
from tests.hostile.trying import KINDS, Workshop
from tests.hostile.values import places, spoiled_bytes, spoiled_json

FAST = ("damaged", "absurd", "arrays", "tensors", "layouts", "settings", "options")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("hostile"), 1, FAST)


@pytest.mark.parametrize("start", range(0, 100, 10))
def test_a_few_inputs(shop, start):
    found = [shop.tried(number) for number in range(start, start + 10)]
    assert not [(what, wrong) for what, wrong in found if wrong]


@pytest.mark.slow
def test_many_inputs_and_processes():
    """All kinds, in a process of their own, as CI runs them."""
    command = [sys.executable, "-m", "tests.hostile", "--seconds", "0", "--inputs", "1500"]
    done = subprocess.run(
        [*command, "--processes", "20"], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stdout
    assert "1,500 inputs" in done.stdout


def test_an_input_is_the_same_each_time(shop):
    """Of a number and a seed; others are others."""
    told = [[], [], []]
    other = Workshop(shop.scratch, 2, FAST)
    for said, one in zip(told, (shop, shop, other), strict=True):
        for number in range(20):
            said.append(one.tried(number)[0])
    assert told[0] == told[1] != told[2]
    for what in told[0]:
        number, kind = what.split()[0], what.split()[4]
        assert Workshop(shop.scratch, 1, (kind,)).tried(int(number))[0] == what


def test_ends_that_are_not_allowed():
    """And those that are."""
    from mlx_vedec.errors import OptionError

    def raising(error):
        raise error

    assert fault(lambda: 1) is None and fault(lambda: raising(OptionError("too large"))) is None
    assert fault(lambda: raising(ValueError("bare"))) == "ValueError: bare (outside the package)"
    assert "AssertionError" in fault(lambda: raising(AssertionError("wrong answer")))
    assert "OptionError of 0" in fault(lambda: raising(OptionError("")))
    assert "still at work" in fault(lambda: time.sleep(9), seconds=0.05)
    assert "SystemExit" in fault(lambda: sys.exit(3))


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux tells the peak")
def test_too_much_memory(monkeypatch):
    monkeypatch.setattr("tests.hostile.limits.MEGABYTES", 20)
    assert "MB" in fault(lambda: bytearray(60_000_000).count(1))
    assert fault(lambda: bytearray(1000)) is None


def test_what_is_spoiled_is_another():
    text = '{"a": [1, {"b": 2}], "c": "x"}'
    assert [*places({"a": [1, {"b": 2}]})] == [("a",), ("a", 0), ("a", 1), ("a", 1, "b")]
    spoiled = {spoiled_json(text, Random(seed))[0] for seed in range(50)}
    assert len(spoiled) > 30 and text not in spoiled
    assert len({spoiled_bytes(bytes(99), Random(seed))[0] for seed in range(50)}) > 30


def test_every_kind_makes_something(tmp_path):
    for kind, (make, _) in KINDS.items():
        what, call = make(tmp_path, Random(0))
        assert what and callable(call), kind
