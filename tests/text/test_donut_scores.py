"""Donut's scores against an enumeration of mappings and the published evaluation's figures."""

from itertools import combinations

import pytest
from hypothesis import given, strategies as st

from mlx_vedec.text.donut_scores import (
    field_share,
    replacement_cost,
    tidied,
    tree_accuracy,
    tree_edit_distance,
    tree_of,
)
from mlx_vedec.text.error_rates import Normalization, Share, total

TREES = st.recursive(
    st.text("ab", min_size=1, max_size=3),
    lambda inner: (
        st.dictionaries(st.sampled_from(["x", "yy"]), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=3,
)


def least_mapping(a, b):
    """The tree edit distance by trying every mapping that keeps order and ancestors."""

    def below(nodes, inner, outer):
        return nodes[outer].first <= inner < outer

    def fits(pairs):
        return all(below(a, i, k) == below(b, j, m) for (i, j), (k, m) in combinations(pairs, 2))

    most = min(len(a), len(b))
    whole = sum(node.cost for node in (*a, *b))
    mappings = (
        list(zip(kept, found, strict=True))
        for size in range(most + 1)
        for kept in combinations(range(len(a)), size)
        for found in combinations(range(len(b)), size)
    )
    return min(
        whole - sum(a[i].cost + b[j].cost - replacement_cost(a[i], b[j]) for i, j in pairs)
        for pairs in mappings
        if fits(pairs)
    )


@given(TREES, TREES)
def test_tree_edit_distance_is_the_least_mapping(a, b):
    a, b = (tree_of(tidied(data)) for data in (a, b))
    if len(a) + len(b) <= 14:
        assert tree_edit_distance(a, b) == least_mapping(a, b)


# F1 and accuracy as Donut's published evaluation gives them (its JSONParseEvaluator, zss 1.2.0)
PUBLISHED = [
    (
        {"menu": [{"nm": "Tea", "cnt": "2"}, {"nm": "Rice"}], "total": "9,000"},
        {
            "menu": [{"nm": "Tee", "cnt": "2"}, {"nm": "Rice", "price": "5,000"}],
            "total": "9,000",
        },
        0.6666666666666666,
        0.7307692307692308,
    ),
    ({"menu": {"nm": "Tea"}}, {"menu": [{"nm": "Rice"}, {"nm": "Tea"}]}, 2 / 3, 0.5),
    ({"date": ["1 May", "2 May"], "nm": "x"}, {"nm": ["x"], "date": "2 May"}, 0.8, 0.375),
    ({}, {"nm": "Tea"}, 0, 0),
    ({"text_sequence": "a long text that is wrong"}, {"nm": "Tea"}, 0, 0),
]


@pytest.mark.parametrize(("prediction", "reference", "f1", "accuracy"), PUBLISHED)
def test_documents_score_as_published(prediction, reference, f1, accuracy):
    assert field_share(prediction, reference).ratio == pytest.approx(f1)
    assert tree_accuracy(prediction, reference) == pytest.approx(accuracy)


def test_field_f1_counts_over_all_documents():
    shares = [field_share(prediction, reference) for prediction, reference, _, _ in PUBLISHED]
    assert total("field_f1", shares) == pytest.approx(0.6)


@given(TREES)
def test_a_document_is_like_itself(data):
    assert tree_accuracy(data, data) == 1
    assert field_share(data, data).ratio == (1 if tidied(data) else 0)
    assert tidied(tidied(data)) == tidied(data)


def test_documents_without_fields():
    assert tree_accuracy({}, {}) == tree_accuracy(None, {"nm": ""}) == 1
    assert tree_accuracy({"nm": "x"}, {}) == 0
    assert field_share(None, {}) == Share(0, 0)


def test_documents_are_normalized_in_their_texts():
    folded = Normalization(lowercase=True)
    assert tree_accuracy({"nm": "TEA"}, {"nm": "Tea"}, folded) == 1
    assert field_share({"NM": "tea"}, {"nm": "tea"}, folded).part == 0  # keys stay as they are
