"""Rules and filters on small rows, beside what the same rule says in plain Python."""

import itertools
import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError, TokenError
from mlx_vedec.generation import processors, warpers
from mlx_vedec.generation.texts import Texts

V = 5
INF = math.inf
ONES = [[1.0] * V]
EVERY = {  # one of each, with values that change what these tests give them
    "sequence_bias": processors.sequence_bias({(1,): 2.0, (1, 2): 0.5, (0, 1, 2): -INF}),
    "bad_words": processors.bad_words([[1], [1, 2], [4]], [4]),
    "repetition_penalty": processors.repetition_penalty(1.5, mx.array([[0, 1], [1, 1]])),
    "no_repeat_ngram": processors.no_repeat_ngram(2),
    "min_length": processors.min_length(9, [4]),
    "min_new_tokens": processors.min_length(10, [4]),
    "forced_bos": processors.forced_bos(3),
    "forced_eos": processors.forced_eos([3, 4], 5),
    "remove_invalid_values": processors.remove_invalid_values(),
    "exponential_decay": processors.exponential_decay_length_penalty(1, 1.5, [4], 1),
    "suppress_tokens": processors.suppress_tokens([0, 0, 3]),
    "begin_suppress_tokens": processors.begin_suppress_tokens([3], 4),
    "temperature": warpers.temperature(0.5),
    "top_k": warpers.top_k(2),
    "top_p": warpers.top_p(0.5),
    "min_p": warpers.min_p(0.5, 2),
    "typical_p": warpers.typical_p(0.5),
    "epsilon_cutoff": warpers.epsilon_cutoff(0.3),
    "eta_cutoff": warpers.eta_cutoff(0.3),
    "renormalize": warpers.renormalize(),
}


def after(process, tokens, scores=ONES):
    """New scores as lists; the same scores for every row where only one is given."""
    scores = mx.broadcast_to(mx.array(scores, mx.float32), (len(tokens), len(scores[0])))
    return np.array(process(mx.array(tokens, mx.int32), scores)).tolist()


def banned(process, tokens, width=V):
    """The ids of each row that are set to -inf, where all were 1."""
    return [
        {token for token, score in enumerate(row) if score == -INF}
        for row in after(process, tokens, [[1.0] * width])
    ]


def kept(warper, probabilities):
    """The ids that a filter leaves to a row of these probabilities."""
    with np.errstate(divide="ignore"):
        scores = np.log(np.array([probabilities], np.float32))
    (row,) = after(warper, [[0]], scores.tolist())
    assert all(score in (-INF, given) for score, given in zip(row, scores[0], strict=True))
    return {token for token, score in enumerate(row) if score > -INF}


def rows_of(ids, length):
    return [list(row) for row in itertools.product(range(ids), repeat=length)]


@pytest.mark.parametrize("name", EVERY)
def test_arguments_stay_as_they_are_and_nothing_is_evaluated(name):
    """Nothing: a function that is being compiled has no values yet, and raises if asked for one."""
    tokens = mx.array([[0, 1, 0, 1], [3, 1, 2, 2]], mx.int32)
    scores = mx.array([[0.5, -1.0, 2.0, 0.1, -2.0], [1.0, 1.0, -INF, 3.0, 0.0]])
    before = tokens.tolist(), scores.tolist()
    got = EVERY[name](tokens, scores)
    mx.eval(got)
    assert (tokens.tolist(), scores.tolist()) == before
    assert got.dtype == mx.float32 and got.shape == scores.shape
    assert name == "forced_bos" or got.tolist() != before[1]
    mx.compile(EVERY[name])(tokens, scores)


def test_sequence_bias_goes_to_the_last_token_and_adds_up():
    biases = {(3,): 1.0, (1, 3): 2.0, (0, 1, 3): 4.0, (0, 4): -INF, (9,) * 4: 8.0}
    process = processors.sequence_bias(biases)
    got = after(process, [[0, 1], [1, 1], [3, 0]], [[0.0] * 10])
    assert [row[:5] for row in got] == [[0, 0, 0, 7, 0], [0, 0, 0, 3, 0], [0, 0, 0, 1, -INF]]
    assert after(process, [[1]], [[0.0] * 10])[0][3] == 3.0
    assert after(process, [[9, 9, 9]], [[0.0] * 10])[0] == [0, 0, 0, 1, 0, 0, 0, 0, 0, 8]


def test_bad_words_against_plain_python():
    words = [[0], [1, 2], [2, 2], [2, 1], [1, 2, 3], [2, 1, 3], [1, 2, 1, 2, 1], [4]]
    process = processors.bad_words([[4, 4], *words], [4])  # [4] alone is the end token
    for length in range(1, 5):
        rows = rows_of(3, length)
        expected = [
            {word[-1] for word in words[:-1] if row[length - len(word) + 1 :] == word[:-1]}
            for row in rows
        ]
        assert banned(process, rows) == expected


def test_bad_words_that_are_all_end_tokens_ban_nothing():
    assert banned(processors.bad_words([[4], [3]], [3, 4]), [[0, 1]]) == [set()]


def test_repetition_penalty_counts_an_id_once():
    scores = [[4.0, -4.0, 0.0, 8.0, -INF]]
    process = processors.repetition_penalty(2.0)
    assert after(process, [[0, 0, 0]], scores) == [[2.0, -4.0, 0.0, 8.0, -INF]]
    assert after(process, [[1, 2, 4]], scores) == [[4.0, -8.0, 0.0, 8.0, -INF]]
    assert after(process, [[7, 7, 3]], scores) == [[4.0, -4.0, 0.0, 4.0, -INF]]


def test_repetition_penalty_leaves_out_padding_on_the_left():
    """Two images with two beams each; the mask stays that of the prompt as rows grow."""
    mask = mx.array([[0, 0, 1], [1, 0, 1]])
    process = processors.repetition_penalty(2.0, mask)
    rows = [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 2, 3], [4, 1, 2, 3]]
    got = after(process, rows)
    assert [{token for token, score in enumerate(row) if score == 0.5} for row in got] == [
        {2, 3},
        {0, 2},
        {0, 1, 2, 3},
        {1, 2, 3, 4},
    ]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_repeat_ngram_against_plain_python(size):
    process = processors.no_repeat_ngram(size)
    for length in range(1, 7):
        rows = rows_of(2, length)
        expected = []
        for row in rows:
            runs = {tuple(row[i : i + size]) for i in range(length - size + 1)}
            ends = tuple(row[length - size + 1 :]) if length >= size - 1 else (None,) * size
            expected.append({token for token in range(V) if (*ends, token) in runs})
        assert banned(process, rows) == expected


def test_no_repeat_ngram_passes_over_ids_that_the_head_does_not_have():
    assert banned(processors.no_repeat_ngram(1), [[1, 9, 5]]) == [{1}]


def test_end_tokens_are_banned_up_to_a_length():
    for length in range(1, 6):
        row = [[0] * length]
        at_least = processors.min_length(3, [1, 4])
        assert banned(at_least, row) == [{1, 4} if length < 3 else set()]
        after_prompt = processors.min_length(4, [4])
        assert banned(after_prompt, row) == [{4} if length < 4 else set()]


def test_forced_and_suppressed_tokens_by_length():
    for length in range(1, 6):
        row = [[0] * length]
        bos = [[-INF, 0, -INF, -INF, -INF]] if length == 1 else ONES
        assert after(processors.forced_bos(1), row) == bos
        eos = [[-INF, 0, -INF, -INF, 0]] if length == 4 else ONES
        assert after(processors.forced_eos([1, 4], 5), row) == eos
        assert banned(processors.suppress_tokens([0, 3]), row) == [{0, 3}]
        begin = processors.begin_suppress_tokens([0, 3], 2)
        assert banned(begin, row) == [{0, 3} if length == 2 else set()]


def test_remove_invalid_values():
    largest = float(np.finfo(np.float32).max)
    got = after(processors.remove_invalid_values(), [[0]], [[math.nan, INF, -INF, -2.0]])
    assert got == [[0.0, largest, -largest, -2.0]]


def test_exponential_decay_raises_the_end_tokens():
    process = processors.exponential_decay_length_penalty(2, 2.0, [0, 1], prompt_length=1)
    scores = [[-4.0, 1.0, 5.0]]
    assert after(process, [[2] * 3], scores) == scores
    assert after(process, [[2] * 4], scores) == [[0.0, 2.0, 5.0]]
    assert after(process, [[2] * 5], scores) == [[8.0, 4.0, 5.0]]
    assert after(process, [[2] * 5], [[-INF, 0.0, 1.0]]) == [[-INF, 0.0, 1.0]]


def test_exponential_decay_stays_a_number_in_long_rows():
    process = processors.exponential_decay_length_penalty(1, 2.0, [0], prompt_length=1)
    (row,) = after(process, [[1] * 3000], [[-3.0, 5.0]])
    assert 1e30 < row[0] < INF and row[1] == 5.0
    process = processors.exponential_decay_length_penalty(1, 0.5, [0], prompt_length=1)
    assert after(process, [[1] * 3000], [[3.0, 5.0]]) == [[0.0, 5.0]]


def test_prefix_allowed_tokens_asks_for_each_row():
    asked = []

    def allowed(image, tokens):
        asked.append((image, tokens.tolist()))
        return [0] if tokens[-1].item() == 1 else (2, 3, 3)

    process = processors.prefix_allowed_tokens(allowed, rows_per_image=2)
    rows = [[0, 1], [0, 2], [0, 3], [0, 1]]
    assert banned(process, rows) == [{1, 2, 3, 4}, {0, 1, 4}, {0, 1, 4}, {1, 2, 3, 4}]
    assert asked == [(0, rows[0]), (0, rows[1]), (1, rows[2]), (1, rows[3])]


def test_prefix_allowed_tokens_that_are_all_banned_become_0():
    """Only where no row of the image has another way to go."""
    process = processors.prefix_allowed_tokens(lambda image, tokens: [0, 1], rows_per_image=2)
    stuck, free = [-INF, -INF, 3.0], [-INF, 2.0, 3.0]
    got = process(mx.zeros((4, 1), mx.int32), mx.array([stuck, stuck, stuck, free])).tolist()
    assert got == [[0, 0, -INF], [0, 0, -INF], [-INF] * 3, [-INF, 2.0, -INF]]


def test_prefix_allowed_tokens_that_is_left_without_a_token():
    process = processors.prefix_allowed_tokens(lambda image, tokens: [0] * (1 - image))
    with pytest.raises(OptionError, match=r"allows nothing for image 1 after \[0, 3\]; let it"):
        after(process, [[0, 2], [0, 3]])


@pytest.mark.parametrize(
    ("process", "message"),
    [
        (processors.sequence_bias({(1, 7): 1.0}), r"sequence_bias lists .*\[7\]; expected 0 to 4"),
        (processors.bad_words([[6], [5, 1], [-1]]), r"bad_words_ids lists .*: \[-1, 5, 6\]"),
        (processors.min_length(1, [5]), r"eos_token_id lists .*\[5\]"),
        (processors.min_length(2, [5]), r"eos_token_id lists .*\[5\]"),
        (processors.forced_bos(5), r"forced_bos_token_id lists .*\[5\]"),
        (processors.forced_eos([1, 5], 2), r"forced_eos_token_id lists .*\[5\]"),
        (processors.suppress_tokens([-1]), r"suppress_tokens lists .*\[-1\]"),
        (processors.begin_suppress_tokens([9, 8], 1), r"begin_suppress_tokens lists .*\[8, 9\]"),
        (processors.exponential_decay_length_penalty(9, 1.5, [5], 1), r"eos_token_id .*\[5\]"),
        (processors.prefix_allowed_tokens(lambda *_: [5]), r"prefix_allowed_tokens_fn .*\[5\]"),
    ],
)
def test_listed_ids_outside_the_vocabulary(process, message):
    """Said at the first call, also by a rule whose length has not come yet."""
    with pytest.raises(TokenError, match=message):
        after(process, [[0, 1, 2]])


def test_listed_ids_can_be_checked_before():
    processors.check_listed_ids("suppress_tokens", [0, V - 1], V)
    with pytest.raises(TokenError, match=r"suppress_tokens lists ids outside .*: \[5\]"):
        processors.check_listed_ids("suppress_tokens", [0, V], V)


def test_temperature_and_renormalize():
    assert after(warpers.temperature(0.5), [[0]], [[1.0, -INF]]) == [[2.0, -INF]]
    got = after(warpers.renormalize(), [[0]], [[100.0, 100.0, -INF]])
    np.testing.assert_allclose(got, [[-math.log(2), -math.log(2), -INF]], rtol=1e-6)


def test_top_k_keeps_ties():
    probabilities = [0.1, 0.2, 0.2, 0.4, 0.1]
    assert [kept(warpers.top_k(k), probabilities) for k in (1, 2, 3)] == [{3}, {1, 2, 3}, {1, 2, 3}]
    assert kept(warpers.top_k(4), probabilities) == kept(warpers.top_k(99), probabilities)
    assert kept(warpers.top_k(1, min_keep=2), probabilities) == {1, 2, 3}
    assert kept(warpers.top_k(3), [0.5, 0, 0, 0.5, 0]) == {0, 3}


def test_top_p_keeps_the_fewest_that_reach_it():
    probabilities = [0.05, 0.3, 0.15, 0.5]
    found = [kept(warpers.top_p(p), probabilities) for p in (0.0, 0.49, 0.51, 0.79, 0.9, 0.99)]
    assert found == [{3}, {3}, {1, 3}, {1, 3}, {1, 2, 3}, {0, 1, 2, 3}]
    assert kept(warpers.top_p(0.1, min_keep=3), probabilities) == {1, 2, 3}
    assert kept(warpers.top_p(0.1, min_keep=9), probabilities) == {0, 1, 2, 3}
    assert len(kept(warpers.top_p(0.6), [0.25] * 4)) == 3  # of ties, as many as it takes


def test_min_p_is_a_share_of_the_likeliest():
    probabilities = [0.05, 0.3, 0.15, 0.5]
    found = [kept(warpers.min_p(p), probabilities) for p in (0.0, 0.11, 0.4, 0.61, 1.0)]
    assert found == [{0, 1, 2, 3}, {1, 2, 3}, {1, 3}, {3}, {3}]
    assert kept(warpers.min_p(0.9, min_keep=3), probabilities) == {1, 2, 3}
    assert kept(warpers.min_p(0.9, min_keep=9), probabilities) == {0, 1, 2, 3}
    assert kept(warpers.min_p(1.0), [0.25] * 4) == {0, 1, 2, 3}
    assert len(kept(warpers.min_p(1.0, min_keep=2), [0.4, 0.2, 0.2, 0.2])) == 2


@pytest.mark.parametrize("probabilities", [[0.05, 0.3, 0.15, 0.5], [0.7, 0.02, 0.02, 0.06, 0.2, 0]])
@pytest.mark.parametrize("mass", [0.01, 0.2, 0.4, 0.72, 0.97])
@pytest.mark.parametrize("min_keep", [1, 3])
def test_typical_p_against_plain_python(probabilities, mass, min_keep):
    some = {token: p for token, p in enumerate(probabilities) if p > 0}
    entropy = -sum(p * math.log(p) for p in some.values())
    expected, total = set(), 0.0
    for token in sorted(some, key=lambda token: abs(-math.log(some[token]) - entropy)):
        tied = any(probabilities[token] == probabilities[other] for other in expected)
        if total < mass or len(expected) < min_keep or tied:
            expected.add(token)
        total += some[token]
    assert kept(warpers.typical_p(mass, min_keep), probabilities) == expected


def test_epsilon_and_eta_cutoffs():
    probabilities = [0.05, 0.3, 0.15, 0.5]
    found = [kept(warpers.epsilon_cutoff(e), probabilities) for e in (0.01, 0.1, 0.2, 0.4, 0.9)]
    assert found == [{0, 1, 2, 3}, {1, 2, 3}, {1, 3}, {3}, {3}]
    assert kept(warpers.epsilon_cutoff(0.9, min_keep=2), probabilities) == {1, 3}
    assert kept(warpers.epsilon_cutoff(0.9, min_keep=9), probabilities) == {0, 1, 2, 3}
    # entropy 1.14 nats: the bound is 0.31 * sqrt(epsilon) where that is below epsilon
    found = [kept(warpers.eta_cutoff(e), probabilities) for e in (0.01, 0.04, 0.16, 0.5, 0.99)]
    assert found == [{0, 1, 2, 3}, {0, 1, 2, 3}, {1, 2, 3}, {1, 3}, {3}]
    assert kept(warpers.eta_cutoff(0.99, min_keep=3), [*probabilities, 0]) == {1, 2, 3}


@pytest.mark.parametrize(
    "warper",
    [
        warpers.top_k(2, 2),
        warpers.top_p(0.01, 2),
        warpers.min_p(1.0, 2),
        warpers.typical_p(0.01, 2),
        warpers.epsilon_cutoff(0.99, 2),
        warpers.eta_cutoff(0.99, 2),
    ],
)
def test_min_keep_does_not_bring_back_what_is_banned(warper):
    assert kept(warper, [0, 1, 0, 0]) == {1}
    assert kept(warper, [0, 0.9, 0, 0.1]) == {1, 3}


@pytest.mark.parametrize("length", range(1, 7))
@pytest.mark.parametrize("name", EVERY)
def test_rules_on_a_buffer_with_room_are_rules_on_its_tokens(name, length):
    """What is behind the tokens does not matter, be it known how many they are or an array."""
    tokens = mx.array([[0, 1, 0, 1, 2, 3, 3, 3, 3], [1, 2, 3, 1, 2, 3, 1, 2, 3]])
    scores = mx.array(np.random.default_rng(0).normal(size=(2, V)).astype(np.float32))
    expected = EVERY[name](tokens[:, :length], scores)
    for count in (length, mx.array(length)):
        got = EVERY[name](Texts(tokens, count), scores)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
