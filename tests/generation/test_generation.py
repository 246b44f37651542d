"""The loops and searches on a decoder made of a table, without a model."""

import itertools
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec.errors import OptionError
from mlx_vedec.generation.beams import BeamSearch
from mlx_vedec.generation.flow import Flow, begin, follow
from mlx_vedec.generation.options import Options
from mlx_vedec.generation.sampling import Sampling


class Cache:
    """Stands for the decoder's: remembers which rows there are, by the number of their image."""

    def __init__(self, images):
        self.rows = [[i] for i in images]
        self.reorders = 0

    def expand(self, times):
        self.rows = [image * times for image in self.rows]

    def reorder(self, parents):
        self.reorders += 1

    def filter(self, images):
        self.rows = [self.rows[i] for i in images]

    def extend(self, other):
        self.rows += other.rows


class Counter:
    """A decoder whose likeliest token is one more than the last; counts how often it is asked."""

    def __init__(self, vocab=10):
        self.shapes, self.masks, self.vocab = [], [], vocab

    def __call__(self, tokens, cache, mask):
        self.shapes.append(tokens.shape)
        self.masks.append(None if mask is None else mask.shape)
        return mx.where(mx.arange(self.vocab)[None] == tokens[:, -1:] + 1, 2.0, 0.0)


class Table:
    """A decoder that knows the last token only, by a random table of logits."""

    def __init__(self, vocab=6, seed=0):
        self.logits = mx.array(np.random.default_rng(seed).normal(0, 1.5, (vocab, vocab)))
        self.logits = self.logits.astype(mx.float32)

    def __call__(self, tokens, cache, mask):
        return self.logits[tokens[:, -1]]


def run(prompt, options, mask=None, step=None):
    step = step or Counter()
    search = (BeamSearch if options.num_beams > 1 else Sampling)(options)
    cache = Cache(range(len(prompt)))
    cohort = begin(step, cache, search, mx.array(prompt), mask)
    return step, search, list(follow(step, cohort, cache))


def sequences(prompt, options, step=None):
    """Tokens of each sequence of each image."""
    _, search, states = run(prompt, options, step=step)
    return [[s.tokens for s in image] for image in search.results(states[-1], range(len(prompt)))]


def test_rows_end_on_their_own_and_are_padded():
    _, search, states = run([[1], [4]], Options(20, (6,), 9))
    assert [s.next.tolist() for s in states] == [[2, 5], [3, 6], [4, 9], [5, 9], [6, 9]]
    assert [s.reasons.tolist()[1] for s in states] == [0, 1, 1, 1, 1]
    assert [search.done(s).tolist() for s in states][1:3] == [[False, True]] * 2
    [[long], [short]] = search.results(states[-1], [0, 1])
    assert (short.tokens, short.reason, len(long.tokens)) == ((5, 6), "stop", 5)
    logp = 2 - np.log(np.exp(2) + 9)
    np.testing.assert_allclose(short.logprobs, [logp, logp], rtol=1e-5)
    assert short.score == pytest.approx(logp, rel=1e-5)
    np.testing.assert_allclose(mx.exp(states[0].logprobs).sum(-1).tolist(), [1, 1], rtol=1e-5)


def test_no_step_is_taken_past_the_length():
    step, search, states = run([[1, 2]], Options(5, (), 0, 2))
    assert [s.next.tolist() for s in states] == [[3], [4], [5]]
    assert step.shapes == [(1, 2), (1, 1), (1, 1)]
    assert search.results(states[-1], [0])[0][0].reason == "length"


def test_the_end_token_may_be_the_padding():
    """GPT-2's: the end token's own probability counts, what follows does not."""
    _, search, states = run([[1], [4]], Options(20, (6,), 6))
    assert [s.next.tolist()[1] for s in states] == [5, 6, 6, 6, 6]
    assert search.results(states[-1], [1])[0][0].tokens == (5, 6)


def test_a_mask_grows_with_the_rows():
    step, _, _ = run([[1, 2], [3, 4]], Options(5, (), 0, 2), mx.array([[0, 1], [1, 1]]))
    assert step.masks == [(2, 2), (2, 3), (2, 4)]


def test_processors_of_mlx_lm_see_one_row():
    seen = []

    def forbid(tokens, logits):
        seen.append((tokens.tolist(), logits.shape))
        return mx.where(mx.arange(10) == tokens[-1] + 1, -mx.inf, logits)

    _, search, states = run([[1], [4]], Options(3, (), 0, logits_processors=(forbid,)))
    assert seen[:2] == [([1], (1, 10)), ([4], (1, 10))]
    assert states[0].next.tolist() == [0, 0]


def test_a_sampler_is_given_log_probabilities():
    def second(logprobs):
        np.testing.assert_allclose(mx.exp(logprobs).sum(axis=-1).tolist(), [1.0], rtol=1e-5)
        return mx.argsort(-logprobs, axis=-1)[:, 1]

    _, _, states = run([[1]], Options(4, (), 0, sampler=second))
    assert states[-1].next.tolist() != [2]


def test_sampling_draws_as_often_as_it_is_likely():
    mx.random.seed(3)
    step = Table()
    options = Options(2, (), 0, do_sample=True, top_k=0, num_return_sequences=4000)
    drawn = [tokens[0] for tokens in sequences([[1]], options, step)[0]]
    expected = np.array(mx.softmax(step.logits[1]))
    found = np.bincount(drawn, minlength=6) / 4000
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_samples_are_the_same_from_the_same_seed():
    options = Options(9, (), 0, do_sample=True, num_return_sequences=3)
    runs = []
    for seed in (1, 1, 2):
        mx.random.seed(seed)
        runs.append(sequences([[1], [2]], options, Table()))
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("rows", [{"num_return_sequences": 3}, {"num_beams": 3}])
def test_with_a_seed_an_image_has_the_same_draws_alone_and_beside_others(rows):
    options = Options(9, (), 0, do_sample=True, seed=7, **rows)
    [alone] = sequences([[1]], options, Table())
    mx.random.seed(5)
    assert sequences([[2], [1], [1]], options, Table())[1:] == [alone, alone]
    other = replace(options, seed=8)
    assert sequences([[1]], other, Table()) != [alone]


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
def test_as_many_beams_as_sequences_find_the_best_of_all(length_penalty):
    """With room for every prefix, beam search is exhaustive."""
    step, vocab, end, most = Table(4), 4, 3, 4
    logp = np.array(step.logits - mx.logsumexp(step.logits, axis=1, keepdims=True), np.float64)
    scores = {}
    for n in range(1, most):
        for ids in itertools.product(range(vocab), repeat=n):
            if end in ids[:-1] or (n < most - 1 and ids[-1] != end):
                continue
            total = sum(logp[a, b] for a, b in itertools.pairwise((0, *ids)))
            scores[ids] = total / n**length_penalty
    best = sorted(scores, key=lambda ids: -scores[ids])[:3]
    options = Options(
        most,
        (end,),
        1,
        num_beams=32,
        num_return_sequences=3,
        length_penalty=length_penalty,
        early_stopping="never",
    )
    _, search, states = run([[0]], options, step=step)
    found = search.results(states[-1], [0])[0]
    assert [s.tokens for s in found] == best
    np.testing.assert_allclose([s.score for s in found], [scores[b] for b in best], rtol=1e-5)
    for s in found:
        assert sum(s.logprobs) == pytest.approx(s.score * len(s.tokens) ** length_penalty, rel=1e-4)


def test_beams_follow_their_parents():
    """Each step names the rows that the cache is put in the order of, within the image's own."""
    options = Options(6, (5,), 1, num_beams=3)
    _, _, states = run([[0], [2]], options, step=Table())
    for before, after in itertools.pairwise(states):
        kept = after.running.tokens.flatten(0, 1)[:, :-1]
        assert mx.array_equal(before.running.tokens.flatten(0, 1)[after.parents], kept)
        assert (after.parents // 3).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_batch_of_beams_gives_what_its_images_give():
    for options in (
        Options(8, (5,), 1, num_beams=3, num_return_sequences=2),
        Options(8, (4, 5), 1, num_beams=2, early_stopping=True, length_penalty=2.0),
    ):
        together = sequences([[0], [1], [2], [3]], options, Table())
        alone = [sequences([[i]], options, Table())[0] for i in range(4)]
        assert together == alone


def drained(flow):
    found = {}
    while len(flow):
        found.update(dict(flow.advance()))
    return found


@pytest.mark.parametrize("beams", [1, 3])
def test_rows_leave_and_others_join_without_changing_any(beams):
    """The tokens of each image do not depend on what it shares the batch with."""
    options = Options(12, (5,), 1, num_beams=beams)
    make = BeamSearch if beams > 1 else Sampling
    step, starts = Table(6, seed=4), [0, 1, 2, 3, 4, 0, 1, 2]
    alone = [sequences([[s]], options, Table(6, seed=4))[0] for s in starts]
    assert len({len(image[0]) for image in alone}) > 1  # they end at different times
    flow, waiting, found, most = Flow(step), list(enumerate(starts)), {}, 0
    while waiting or len(flow):
        if waiting and len(flow) < 3:
            taken, waiting = waiting[:2], waiting[2:]
            cache = Cache([i for i, _ in taken])
            prompt = mx.array([[s] for _, s in taken])
            cohort = begin(step, cache, make(options), prompt, keys=[i for i, _ in taken])
            flow.add(cohort, cache)
        most = max(most, len(flow))
        found.update(dict(flow.advance()))
        if flow.cache is not None:
            keys = [key for cohort in flow.cohorts for key in cohort.keys]
            assert [row[0] for row in flow.cache.rows] == keys
            assert all(len(row) == beams for row in flow.cache.rows)
    assert [[s.tokens for s in found[i]] for i in range(8)] == alone
    assert most >= 3 and flow.cache is None


def test_rows_that_have_ended_are_not_computed_for_long():
    step, cache = Counter(40), Cache(range(8))
    options = Options(40, (32,), 0)
    prompt = mx.array([[30], [30], [30], [30], [30], [30], [30], [1]])
    flow = Flow(step)
    flow.add(begin(step, cache, Sampling(options), prompt), cache)
    found = drained(flow)
    assert [len(found[i][0].tokens) for i in range(8)] == [2] * 7 + [31]
    assert [shape[0] for shape in step.shapes][:5] == [8, 8, 8, 1, 1]


def test_a_flow_is_watched_and_left():
    """Each token of each image is seen once, its last one too; an image that leaves has no row."""
    step, cache, seen = Counter(40), Cache(range(3)), {0: [], 1: [], 2: []}

    def watch(cohort, state):
        for key, token in zip(cohort.keys, state.next.tolist(), strict=True):
            if key not in flow.ended:
                seen[key].append(token)

    flow = Flow(step, watch=watch)
    cohort = begin(step, cache, Sampling(Options(12, (33,), 0)), mx.array([[30], [1], [20]]))
    flow.add(cohort, cache)
    for _ in range(3):
        flow.advance()
    flow.leave([2, "of another flow"])
    assert cohort.keys == [1] and [row[0] for row in cache.rows] == [1] and len(flow) == 1
    assert drained(flow).keys() == {1} and step.shapes[-1] == (1, 1)
    assert seen == {0: [31, 32, 33], 1: [*range(2, 13)], 2: [21, 22, 23]}


def test_images_are_numbered_as_they_were_given_after_others_have_left():
    """`prefix_allowed_tokens_fn` and `beam_indices` count images of the whole batch."""
    for beams in (1, 2):
        asked = set()

        def allowed(image, tokens, asked=asked):
            asked.add((image, int(tokens[0].item())))
            return range(40)

        options = Options(
            40, (32,), 0, num_beams=beams, prefix_allowed_tokens_fn=allowed, early_stopping=True
        )
        step, cache = Counter(40), Cache(range(4))
        flow = Flow(step)
        search = (BeamSearch if beams > 1 else Sampling)(options)
        prompt = mx.array([[30], [30], [1], [2]])
        flow.add(begin(step, cache, search, prompt), cache)
        found = drained(flow)
        assert asked == {(0, 30), (1, 30), (2, 1), (3, 2)}
        if beams > 1:
            assert {b // 2 for b in found[3][0].beams} == {3}


def test_criteria_and_time_and_texts_end_rows():
    def at_seven(tokens, scores):
        return tokens[:, -1] == 7

    class Letters:
        def decode(self, ids):
            return "".join(chr(ord("a") + i) for i in ids)

    stopped = Options(30, (), 0, stopping_criteria=(at_seven,))
    assert sequences([[1], [4]], stopped, Counter(40)) == [[(2, 3, 4, 5, 6, 7)], [(5, 6, 7)]]
    text = Options(30, (), 0, stop_strings=("gh", "zz"), tokenizer=Letters())
    assert sequences([[3]], text, Counter(40)) == [[(4, 5, 6, 7)]]
    _, search, states = run([[1]], Options(30, (), 0, max_time=1e-9), step=Counter(40))
    assert search.results(states[-1], [0])[0][0].reason == "length" and len(states) == 1
    both = Options(30, (), 0, num_beams=2, stopping_criteria=(at_seven,))
    assert sequences([[4]], both, Counter(40))[0][0] == (5, 6, 7)


def test_a_prefix_function_that_allows_nothing():
    options = Options(4, (), 0, prefix_allowed_tokens_fn=lambda image, tokens: [])
    with pytest.raises(OptionError, match="prefix_allowed_tokens_fn"):
        run([[1]], options)
