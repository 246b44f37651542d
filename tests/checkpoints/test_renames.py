import pytest

from mlx_vedec import TrOCRForCausalLM, ViTModel, convert, load
from mlx_vedec.checkpoints import renames
from mlx_vedec.checkpoints.renames import Renames
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.reading.load import BUNDLED
from tests.support.tiny import tiny_model

TABLE = Renames(
    pairs=(
        ("layer.*.attn.out", "layers.*.o"),
        ("layer.*.attn", "layers.*.a"),
        ("a.*.b.*", "x.*.*"),
    ),
    aliases=(("old", "layers.0.o"),),
    carried=("pooler",),
    ignored=("position_ids",),
    tied=(("head.weight", "embed.weight"),),
)


def test_numbers_are_carried_over_and_the_first_row_wins():
    assert TABLE.ours("layer.12.attn.out.bias") == "layers.12.o.bias"
    assert TABLE.ours("layer.12.attn.key.bias") == "layers.12.a.key.bias"
    assert TABLE.ours("a.3.b.4.w") == "x.3.4.w"
    assert TABLE.on_disk("layers.7.o.bias") == "layer.7.attn.out.bias"
    assert TABLE.ours("old.weight") == "layers.0.o.weight"


def test_patterns_are_anchored_at_both_ends():
    for name in ("xlayer.1.attn", "layer.1.attention", "layer.x.attn", "layers.1.o", "poolers"):
        assert TABLE.ours(name) is None
        assert not TABLE.carries(name)
    assert TABLE.carries("pooler.dense.weight") and TABLE.ignores("position_ids")


def test_under_a_prefix():
    table = TABLE.under("encoder.")
    assert table.ours("encoder.layer.1.attn.q") == "encoder.layers.1.a.q"
    assert table.ours("layer.1.attn.q") is None
    assert table.carries("encoder.pooler.x") and table.tied[0][0] == "encoder.head.weight"


def test_the_first_of_nested_rows_and_numbers_that_are_dropped():
    table = Renames(pairs=(("a.*.b.*.c", "x.*"), ("a.*.b", "y.*"), ("a.0", "zero"), ("a", "z")))
    assert [table.ours(name) for name in ("a.1.b.2.c.w", "a.1.b.2.d", "a.0.e", "a.00.e", "b")] == [
        *("x.1.w", "y.1.2.d", "zero.e", "z.00.e", None)
    ]
    assert not any((Renames(()).ours(""), Renames(()).carries(""), Renames(()).ours(".")))


@pytest.fixture
def count(monkeypatch):
    """How often a pattern was matched with a name, since the last time one asked."""
    real, seen = renames._any_of, []

    class Counted:
        def __init__(self, patterns):
            self.pattern = real(patterns)

        def match(self, name):
            seen.append(name)
            return self.pattern.match(name)

    def counted():
        found = len(seen)
        seen.clear()
        return found

    monkeypatch.setattr(renames, "_any_of", Counted)
    return counted


def test_each_name_is_matched_once(count, tmp_path):
    """Of the 142 tensors of the bundled model, for each thing that a table says about it."""
    load()
    assert 142 < count() < 4 * 142
    convert(BUNDLED, tmp_path / "out", quantize=4)
    assert 142 < count() < 6 * 142  # scales and biases have names too


@pytest.mark.parametrize("deit", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_tables_are_reversible_on_every_parameter(deit, tied):
    model = tiny_model({}, {"tie_word_embeddings": tied}, deit=deit)
    names = list(parameters(model))
    assert [model.renames.ours(model.renames.on_disk(name)) for name in names] == names


def test_every_row_of_every_table_is_used():
    """A row that names no parameter of any model is a mistake."""
    models = [tiny_model({}, {"tie_word_embeddings": tied}, deit=True) for tied in (True, False)]
    names = {name for model in models for name in parameters(model)}
    families = [("encoder.", ViTModel.renames), ("decoder.", TrOCRForCausalLM.renames)]
    for prefix, table in families:
        for row in (*table.pairs, *table.aliases):
            probe = Renames((row,)).under(prefix)
            assert any(Renames(tuple((b, a) for a, b in probe.pairs)).ours(n) for n in names), row
