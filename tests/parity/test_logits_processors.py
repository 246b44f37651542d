"""Score rules and sampling filters against transformers' classes, on random rows and scores."""

from __future__ import annotations

import itertools
import math

import mlx.core as mx
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers.generation import logits_process as theirs  # noqa: E402

from mlx_vedec.generation import processors, warpers  # noqa: E402

N, V = 6, 23
LENGTHS = (1, 2, 3, 4, 5, 9, 30)
SEEDS = range(3)
EOS = [2, 7]
PROBABILITIES = (1e-6, 0.05, 0.3, 0.5, 0.9, 0.999)
KEEP = (1, 3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Torch's threads wait for each other far longer than these rows take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokens_of(length, seed, ids=V):
    return np.random.default_rng([seed, length]).integers(0, ids, (N, length), dtype=np.int32)


def scores_of(seed, kind="plain"):
    generator = np.random.default_rng([seed, 99])
    scores = generator.normal(0, 3, (N, V))
    if kind == "ties":
        scores = np.round(scores / 2)
    if kind == "banned":
        scores[generator.random((N, V)) < 0.4] = -np.inf
        scores[0] = np.where(np.arange(V) == 4, 1.5, -np.inf)
        scores[1, 9] = 0.5
    if kind == "peaked":
        scores *= 20
    if kind == "even":
        scores[:] = 0.25
    return scores.astype(np.float32)


def same(ours, reference, tokens, scores):
    """Both ways give -inf, inf and nan in the same places and the same numbers elsewhere."""
    got = np.array(ours(mx.array(tokens), mx.array(scores)))
    given = torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(scores.copy())
    expected = reference(*given).numpy()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def same_for_rows(ours, reference, ids=V, lengths=LENGTHS):
    """One processor of each for many lengths, as in a generation; few `ids` make rows repeat."""
    for length, seed in itertools.product(lengths, SEEDS):
        for kind in ("plain", "banned"):
            same(ours, reference, tokens_of(length, seed, ids), scores_of(seed, kind))


def same_for_scores(ours, reference, kinds=("plain", "banned", "peaked", "even", "ties")):
    for kind in kinds:
        for seed in range(10):
            same(ours, reference, tokens_of(1, seed), scores_of(seed, kind))


BIASES = {
    (3,): -2.5,
    (0,): 4.0,
    (1, 3): 1.5,
    (2, 3): 0.5,
    (0, 1, 3): -7.0,  # meets (1, 3)
    (1, 1, 1): 2.0,
    (0, 0): -math.inf,
    tuple(range(4)) * 3: 1.0,  # longer than most rows
}


def their_bias(biases):
    return theirs.SequenceBiasLogitsProcessor([[[*ids], bias] for ids, bias in biases.items()])


@pytest.mark.parametrize("ids", [2, 4, V])
def test_sequence_bias(ids):
    reference = their_bias(BIASES)
    same_for_rows(processors.sequence_bias(BIASES), reference, ids)


def test_sequence_bias_where_every_row_ends_with_a_sequence():
    biases = {(5, 6, 1): 3.0, (6, 2): 1.0, (6, 1): -2.0, (5, 6, 5, 6, 1): 0.25}
    tokens = np.tile(np.array([5, 6], np.int32), (N, 2))
    for length in range(1, 5):
        reference = their_bias(biases)
        same(processors.sequence_bias(biases), reference, tokens[:, -length:], scores_of(0))


@pytest.mark.parametrize("ids", [3, V])
@pytest.mark.parametrize(
    "words",
    [
        [[4]],
        [[2], [4], [7], [4]],  # two are end tokens
        [[0, 1], [1, 0], [0, 1, 2], [1, 2], [2, 2], [0, 0, 0, 0], [2, 7]],
        [[0, 1, 2, 0, 1, 2, 0, 1, 2, 0], [1], [2, 2]],
    ],
)
def test_bad_words(words, ids):
    reference = theirs.NoBadWordsLogitsProcessor(words, eos_token_id=EOS)
    same_for_rows(processors.bad_words(words, EOS), reference, ids)


@pytest.mark.parametrize("penalty", [0.5, 1.3, 5.0])
@pytest.mark.parametrize("ids", [3, V])
def test_repetition_penalty(penalty, ids):
    reference = theirs.RepetitionPenaltyLogitsProcessor(penalty)
    same_for_rows(processors.repetition_penalty(penalty), reference, ids)


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_repetition_penalty_of_padded_prompts(beams):
    images = N // beams
    mask = np.ones((images, 5), np.int32)
    for row in range(images):
        mask[row, : row % 5] = 0
    mask[0] = 0  # what transformers makes of a row of padding: nothing is left out
    mask[-1] = [0, 1, 0, 1, 0]  # and of padding after the first token
    padding = torch.from_numpy((mask != 0).argmax(1)).repeat_interleave(beams)
    reference = theirs.RepetitionPenaltyLogitsProcessor(1.7, prompt_ignore_length=padding)
    ours = processors.repetition_penalty(1.7, mx.array(mask))
    same_for_rows(ours, reference, lengths=(5, 6, 20))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("ids", [1, 2, 4, V])
def test_no_repeat_ngram(size, ids):
    same_for_rows(
        processors.no_repeat_ngram(size), theirs.NoRepeatNGramLogitsProcessor(size), ids, range(13)
    )


def test_ids_that_the_head_does_not_have_are_passed_over():
    beyond = V + 5
    reference = theirs.RepetitionPenaltyLogitsProcessor(1.5)
    same_for_rows(processors.repetition_penalty(1.5), reference, beyond)
    same_for_rows(processors.no_repeat_ngram(1), theirs.NoRepeatNGramLogitsProcessor(1), beyond)


@pytest.mark.parametrize("eos", [[2], EOS])
def test_lengths(eos):
    for count in (0, 1, 4, 30):
        reference = theirs.MinLengthLogitsProcessor(count, eos)
        same_for_rows(processors.min_length(count, eos), reference)
        reference = theirs.MinNewTokensLengthLogitsProcessor(3, count, eos)
        same_for_rows(processors.min_length(count + 3, eos), reference)


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_prefix_allowed_tokens(beams):
    def allowed(image, ids):
        """Lists of several lengths, by image and by row; only banned ids in some images."""
        first = int(ids[-1])
        return [image] if image % 2 else [*range(1, 3 + first % 5)]

    ours = processors.prefix_allowed_tokens(allowed, beams)
    same_for_rows(ours, theirs.PrefixConstrainedLogitsProcessor(allowed, beams))


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_prefix_allowed_tokens_where_other_rules_ban_them(beams):
    scores = scores_of(1)
    scores[:2, [4, 5]] = -np.inf  # a whole image with up to two beams, a part of it with three
    scores[4, [4, 5]] = -np.inf
    ours = processors.prefix_allowed_tokens(lambda image, ids: [4, 5], beams)
    reference = theirs.PrefixConstrainedLogitsProcessor(lambda image, ids: [4, 5], beams)
    same(ours, reference, tokens_of(3, 0), scores)


def test_forced_tokens():
    same_for_rows(processors.forced_bos(4), theirs.ForcedBOSTokenLogitsProcessor(4))
    for ids in ([2], EOS):
        reference = theirs.ForcedEOSTokenLogitsProcessor(5, ids)
        same_for_rows(processors.forced_eos(ids, 5), reference)


def test_remove_invalid_values():
    scores = scores_of(0, "banned")
    scores[1:3, 2:5] = np.nan
    scores[2:4, 4:9] = np.inf
    ours, reference = processors.remove_invalid_values(), theirs.InfNanRemoveLogitsProcessor()
    same(ours, reference, tokens_of(2, 0), scores)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.01, 1.5])
@pytest.mark.parametrize("start", [0, 2, 8])
def test_exponential_decay_length_penalty(start, factor):
    for eos, prompt in ([[2], 1], [EOS, 3]):
        reference = theirs.ExponentialDecayLengthPenalty((start, factor), eos, prompt)
        ours = processors.exponential_decay_length_penalty(start, factor, eos, prompt)
        same_for_rows(ours, reference)


def test_exponential_decay_leaves_values_that_are_not_finite():
    scores = scores_of(0)
    scores[:3, 2] = [np.inf, -np.inf, np.nan]
    reference = theirs.ExponentialDecayLengthPenalty((1, 1.5), [2], 1)
    ours = processors.exponential_decay_length_penalty(1, 1.5, [2], 1)
    same(ours, reference, tokens_of(9, 0), scores)


def test_suppress_tokens():
    listed = [0, 5, 5, 22]
    reference = theirs.SuppressTokensLogitsProcessor(listed)
    same_for_rows(processors.suppress_tokens(listed), reference)
    for begin in (1, 4):
        reference = theirs.SuppressTokensAtBeginLogitsProcessor(listed, begin)
        same_for_rows(processors.begin_suppress_tokens(listed, begin), reference)


@pytest.mark.parametrize("value", [0.1, 0.7, 3.0])
def test_temperature(value):
    same_for_scores(warpers.temperature(value), theirs.TemperatureLogitsWarper(value))


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("k", [1, 2, 5, V - 1, V, V + 9])
def test_top_k(k, keep):
    reference = theirs.TopKLogitsWarper(k, min_tokens_to_keep=keep)
    same_for_scores(warpers.top_k(k, keep), reference)


@pytest.mark.parametrize("keep", [*KEEP, V + 2])
@pytest.mark.parametrize("p", [0.0, *PROBABILITIES, 1.0])
def test_top_p(p, keep):
    """Not with ties: which of them stay is left to torch's sort.

    Nor p = 1 with what has less probability than a float32 can say, which torch keeps.
    """
    kinds = ("plain", "banned") if p == 1 else ("plain", "banned", "peaked")
    reference = theirs.TopPLogitsWarper(p, min_tokens_to_keep=keep)
    same_for_scores(warpers.top_p(p, keep), reference, kinds)


@pytest.mark.parametrize("keep", [*KEEP, V + 2])
@pytest.mark.parametrize("p", [0.0, *PROBABILITIES, 1.0])
def test_min_p(p, keep):
    """With ties only where one is kept: which of several stay is left to torch's topk."""
    kinds = ("plain", "banned", "even", "ties") if keep == 1 else ("plain", "banned")
    reference = theirs.MinPLogitsWarper(p, min_tokens_to_keep=keep)
    same_for_scores(warpers.min_p(p, keep), reference, kinds)


@pytest.mark.parametrize("keep", [*KEEP, V + 2])
@pytest.mark.parametrize("mass", PROBABILITIES)
def test_typical_p(mass, keep):
    reference = theirs.TypicalLogitsWarper(mass, min_tokens_to_keep=keep)
    same_for_scores(warpers.typical_p(mass, keep), reference, ("plain", "banned", "peaked", "even"))


@pytest.mark.parametrize("keep", [*KEEP, V + 2])
@pytest.mark.parametrize("epsilon", PROBABILITIES)
def test_cutoffs(epsilon, keep):
    reference = theirs.EpsilonLogitsWarper(epsilon, min_tokens_to_keep=keep)
    same_for_scores(warpers.epsilon_cutoff(epsilon, keep), reference)
    reference = theirs.EtaLogitsWarper(epsilon, min_tokens_to_keep=keep)
    same_for_scores(warpers.eta_cutoff(epsilon, keep), reference)


def test_renormalize():
    same_for_scores(warpers.renormalize(), theirs.LogitNormalization())


def test_a_row_in_which_all_is_banned():
    """Stays as it is; eta_cutoff is not asked, where torch has an error for it."""
    scores = scores_of(0)
    scores[2] = -np.inf
    for ours, reference in (
        (warpers.top_k(3), theirs.TopKLogitsWarper(3)),
        (warpers.top_p(0.5), theirs.TopPLogitsWarper(0.5)),
        (warpers.min_p(0.5), theirs.MinPLogitsWarper(0.5)),
        (warpers.typical_p(0.5), theirs.TypicalLogitsWarper(0.5)),
        (warpers.epsilon_cutoff(0.5), theirs.EpsilonLogitsWarper(0.5)),
        (warpers.renormalize(), theirs.LogitNormalization()),  # nan, both
        (processors.prefix_allowed_tokens(lambda *_: [1]), allowing_one()),
    ):
        same(ours, reference, tokens_of(2, 0), scores)


def allowing_one():
    return theirs.PrefixConstrainedLogitsProcessor(lambda *_: [1], 1)


def test_one_after_another():
    """In the order of a generation, where filters meet what others have set to -inf."""
    ours = [
        processors.repetition_penalty(1.3),
        processors.no_repeat_ngram(2),
        processors.min_length(6, EOS),
        warpers.temperature(0.7),
        warpers.top_k(8),
        warpers.top_p(0.9),
        warpers.typical_p(0.8, 2),
        warpers.renormalize(),
    ]
    reference = theirs.LogitsProcessorList(
        [
            theirs.RepetitionPenaltyLogitsProcessor(1.3),
            theirs.NoRepeatNGramLogitsProcessor(2),
            theirs.MinLengthLogitsProcessor(6, EOS),
            theirs.TemperatureLogitsWarper(0.7),
            theirs.TopKLogitsWarper(8),
            theirs.TopPLogitsWarper(0.9),
            theirs.TypicalLogitsWarper(0.8, min_tokens_to_keep=2),
            theirs.LogitNormalization(),
        ]
    )

    def chained(tokens, scores):
        for process in ours:
            scores = process(tokens, scores)
        return scores

    same_for_rows(chained, reference, 4)
