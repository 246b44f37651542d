"""The self-check: it covers every family, and finds one that is broken."""

import json

import mlx.core as mx
import pytest

from mlx_vedec.checkpoints.weights import parameters, read_file
from mlx_vedec.commands import main
from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.encoders.vit import ViTModel
from mlx_vedec.errors import OptionError
from mlx_vedec.measuring import selfcheck as module
from mlx_vedec.measuring.selfcheck import GOLDEN, PRECISIONS, VALUES, selfcheck
from mlx_vedec.measuring.selfcheck_models import small_model, uniform


def test_every_family_has_golden_values():
    """A new family needs them: python -m tests.benchmarks.make_golden_selfcheck."""
    golden = read_file(GOLDEN)
    lines = {f"{how}.{path.name}" for how in module.BEAMS for path in module.check_lines()}
    values = {
        f"{family}{ending}"
        for family in {**ENCODERS, **DECODERS}
        for ending in ("", ".8-bit", ".4-bit")
    }
    assert set(golden) == values | lines
    assert all(golden[name].shape == (VALUES,) for name in values)
    assert GOLDEN.stat().st_size < 150_000


@pytest.mark.slow
def test_everything_passes_here():
    found = selfcheck()
    assert found.passed and not found.failures
    assert [family.family for family in found.families] == [*ENCODERS, *DECODERS]
    assert all({*family.errors} == {*PRECISIONS} for family in found.families)
    assert found.bundled is not None and found.bundled.text == "_VANE_"
    assert found.bundled.lines == 8


def test_weights_depend_on_names_alone():
    """Not on MLX's generator, nor on the order of parameters."""
    mx.random.seed(1)
    first = parameters(small_model("vit"))
    mx.random.seed(2)
    second = parameters(small_model("vit"))
    assert all(mx.array_equal(x, second[name]) for name, x in first.items())
    # written down here: numpy promises the bits of PCG64
    assert uniform("pixels", (2,)).tolist() == [0.9312495589256287, -0.718136727809906]
    assert not mx.array_equal(uniform("pixels", (2,)), uniform("features", (2,)))


class Skewed(ViTModel):
    """One that is a little off."""

    def features(self, pixels, interpolate, trace):
        return super().features(pixels, interpolate, trace) * 1.001


class Raising(ViTModel):
    """One that cannot be computed."""

    def features(self, pixels, interpolate, trace):
        raise RuntimeError("no kernel for this")


class Empty(ViTModel):
    """One that overflows."""

    def features(self, pixels, interpolate, trace):
        return super().features(pixels, interpolate, trace) * float("inf")


def broken(monkeypatch, kind):
    monkeypatch.setitem(module.FAMILIES, "vit", kind)


def test_wrong_values_are_reported(monkeypatch, capsys):
    """An error of a thousandth is too large in float32, and not in half precision."""
    broken(monkeypatch, Skewed)
    assert main(["selfcheck", "--family", "vit", "trocr"]) == 1
    out, err = capsys.readouterr()
    assert "mlx_vedec selfcheck: FAILED" in out
    (row,) = [line for line in out.splitlines() if line.startswith("| vit |")]
    assert row.startswith("| vit | 1.0e-03 FAILED |") and row.count("FAILED") == 1
    assert "| trocr |" in out
    assert err.count("\n") == 1
    assert "failed: vit in float32; please open an issue" in err


def test_what_was_raised_is_reported(monkeypatch, capsys):
    broken(monkeypatch, Raising)
    assert main(["selfcheck", "--family", "vit", "trocr", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["passed"]
    vit, trocr = found["families"]
    assert vit["problems"] == dict.fromkeys(PRECISIONS, "RuntimeError: no kernel for this")
    assert vit["errors"] == dict.fromkeys(PRECISIONS)
    assert trocr["problems"] == {} and None not in trocr["errors"].values()


def test_what_is_not_a_number_is_reported(monkeypatch, capsys):
    broken(monkeypatch, Empty)
    assert main(["selfcheck", "--family", "vit"]) == 1
    assert capsys.readouterr().out.count("not a number FAILED") == len(PRECISIONS)


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="of a CPU")
def test_on_a_cpu_only_what_is_quantized_is_widened():
    assert PRECISIONS["float16"].in_use == mx.float16
    assert PRECISIONS["8-bit"].in_use == mx.float32


@pytest.mark.slow
def test_other_tokens_are_reported(monkeypatch):
    """Where the bundled model reads something else on some line with beams."""
    tokens: dict = {
        how: {path.name: [1, 2]} for how in module.BEAMS for path in module.check_lines()[:1]
    }
    golden = read_file(GOLDEN)
    name = module.check_lines()[0].name
    tokens["greedy"][name] = golden[f"greedy.{name}"].tolist()
    monkeypatch.setattr(module, "bundled_tokens", lambda: tokens)
    monkeypatch.setattr(module, "FAMILIES", {})
    found = selfcheck()
    assert found.failures == ["the bundled model, 4 beams"]
    assert found.bundled is not None
    assert found.bundled.wrong == {"greedy": [], "4 beams": [name]}


def test_a_table_to_paste(capsys):
    assert main(["selfcheck", "--family", "swin"]) == 0
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1
    for name in ("machine", "device", "versions"):
        assert f"- {name}: " in out
    assert "bundled" not in out and err == ""


def test_an_unknown_family_is_named_with_the_closest():
    with pytest.raises(OptionError, match="family is 'swin_v2'; did you mean swinv2"):
        selfcheck(["swin_v2"])
    with pytest.raises(OptionError, match="known are vit, deit"):
        selfcheck(["zzz"])
