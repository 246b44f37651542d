"""Greedy decoding, sampling and where options come from, against transformers, through its folders.

Tokens are equal; logits and scores of every row and step within 2e-5. Where tokens are drawn, both
libraries are made to draw the same ones.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tokenizers import Tokenizer as Backend, decoders, models

from mlx_vedec import GenerationConfig, VisionEncoderDecoderModel
from mlx_vedec.text.tokenizer import Tokenizer
from tests.parity.reference import (
    PROMPTS,
    RULES,
    TROCR,
    generate_both,
    image,
    lively_pair,
    one_thread,
    same_generation,
    torch,
    transformers,
)

pytestmark = pytest.mark.filterwarnings("ignore:the files of the checkpoint differ")
ENDS = (None, 31, [7, 34], [15, 7, 34])
GREEDY = {name: rule for name, rule in RULES.items() if "length_penalty" not in rule}


@pytest.fixture(autouse=True, scope="module")
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("generate")


@pytest.fixture(scope="module")
def pair(folder):
    return lively_pair(folder, seed=2)


# greedy


@pytest.mark.parametrize("ends", ENDS, ids=str)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy(pair, prompt, ends):
    """Every prompt, end and padding; and what comes without `return_dict_in_generate`."""
    for pad in (0, 5):
        options = {"max_length": 14, "pad_token_id": pad, "eos_token_id": ends, **PROMPTS[prompt]}
        out, expected = generate_both(pair, **options)
        same_generation(out, expected)
    if prompt == "start":
        _, y = image(pair[0], 3)
        tokens = pair[1].generate(y, max_length=14, pad_token_id=5, eos_token_id=ends or [])
        assert isinstance(tokens, mx.array) and tokens.tolist() == out.sequences.tolist()


def test_rows_end_on_their_own(pair):
    out, _ = generate_both(pair, rows=6, eos_token_id=[7, 34], pad_token_id=1, max_length=16)
    lengths = (np.array(out.sequences) != 1).sum(axis=1)
    assert len(set(lengths.tolist())) > 3


@pytest.mark.parametrize("rule", GREEDY)
def test_rule(pair, rule):
    """Beside the same decoding without the rule, which gives something else."""
    _, y = image(pair[0], 3)
    options = {"eos_token_id": [31, 7], "max_length": 13}
    out, expected = generate_both(pair, **options, **GREEDY[rule])
    same_generation(out, expected)
    assert out.sequences.tolist() != pair[1].generate(y, **options).tolist()
    for prompt in ("unstarted", "padded"):
        options["eos_token_id"] = [15, 34]
        same_generation(*generate_both(pair, **options, **PROMPTS[prompt], **GREEDY[rule]))


def test_rules_together(pair):
    """Ever more of them, but for those that leave no choice or make much of a small error."""
    without = ("forced", "prefix", "remove", "logits_processor")
    names = [name for name in GREEDY if not name.startswith(without)]
    for count in range(2, len(names) + 1):
        chosen = {key: v for name in names[-count:] for key, v in GREEDY[name].items()}
        chosen.pop("min_length" if "min_new_tokens" in chosen else "", None)
        same_generation(*generate_both(pair, max_length=14, eos_token_id=[31, 34], **chosen))


def test_transition_scores(pair):
    out, expected = generate_both(pair, eos_token_id=[7, 34], max_length=14, repetition_penalty=1.3)
    theirs, ours = pair
    for normalize in (False, True):
        found = ours.compute_transition_scores(out.sequences, out.scores, None, normalize)
        reference = theirs.compute_transition_scores(
            expected.sequences, expected.scores, normalize_logits=normalize
        )
        np.testing.assert_allclose(np.array(found), reference, rtol=1e-5, atol=2e-5)


def test_stopping_criteria(pair):
    """Rows that a function stops, each on its own, are padded like those that end."""

    def stops(tokens, scores, **_):
        return (tokens.sum(1) % 5 == 0) & (tokens.shape[1] > 3)

    out, expected = generate_both(
        pair, rows=6, max_length=14, eos_token_id=31, pad_token_id=1, stopping_criteria=[stops]
    )
    same_generation(out, expected)
    assert len({row.index(1) if 1 in row else 14 for row in out.sequences.tolist()}) > 2


PIECES = [*"abcdefghijklmnopqrstuvwxyz", *"0123", "ab", "in", "er", "ing", "on", "at", "the"]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("places", [((0, 5, 6),), ((0, 4, 7), (3, 6, 9), (4, 2, 4))], ids=str)
def test_stop_strings(pair, tmp_path, beams, places):
    """Some of what is read without them, (row, start, end): of several tokens, of a part of one."""
    backend = Backend(models.BPE({piece: i for i, piece in enumerate(PIECES)}, []))
    backend.decoder = decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    theirs.save_pretrained(tmp_path)
    ours = Tokenizer.from_pretrained(tmp_path)
    x, y = image(pair[0], 6)
    options = {"num_beams": beams, "num_return_sequences": beams}
    options |= {"max_length": 14, "eos_token_id": 24}
    plain = pair[1].generate(y, **options).tolist()
    texts = [ours.decode(row[1:]) for row in plain[::beams]]
    stops = [texts[row][start:end] for row, start, end in places]
    expected = pair[0].generate(x, stop_strings=stops, tokenizer=theirs, **options).tolist()
    assert pair[1].generate(y, stop_strings=stops, tokenizer=ours, **options).tolist() == expected
    assert expected != plain


# sampling


WARPERS = {
    "temperature": {"temperature": 0.7},
    "hot": {"temperature": 2.5},
    "top_k": {"top_k": 5},
    "no top_k": {"top_k": 0, "repetition_penalty": 1.2},
    "top_p": {"top_p": 0.6},
    "min_p": {"min_p": 0.2},
    "typical_p": {"typical_p": 0.5},
    "epsilon_cutoff": {"epsilon_cutoff": 0.05},
    "eta_cutoff": {"eta_cutoff": 0.1},
    "several": {"temperature": 1.5, "top_k": 12, "top_p": 0.9, "min_p": 0.05},
    "entropy": {"temperature": 1.3, "typical_p": 0.8, "eta_cutoff": 0.02, "epsilon_cutoff": 0.02},
    "normal": {"top_p": 0.8, "renormalize_logits": True, "no_repeat_ngram_size": 2},
    "allowed": {**RULES["prefix_allowed_tokens_fn"], "top_k": 4, "renormalize_logits": True},
}


@pytest.fixture
def settled_draws(monkeypatch):
    """Draw one token, the unlikeliest that is left; draw several, the likeliest."""

    def multinomial(probabilities, num_samples, **_):
        if num_samples > 1:
            return probabilities.topk(num_samples).indices
        left = torch.where(probabilities > 0, probabilities, torch.inf)
        return left.argmin(dim=-1, keepdim=True)

    def categorical(scores, **_):
        return mx.argmin(mx.where(scores > -mx.inf, scores, mx.inf), axis=-1)

    monkeypatch.setattr(torch, "multinomial", multinomial)
    monkeypatch.setattr(mx.random, "categorical", categorical)
    monkeypatch.setattr(mx.random, "gumbel", lambda shape, **_: mx.zeros(shape))


@pytest.mark.parametrize("warper", WARPERS)
def test_sampling(pair, settled_draws, warper):
    """The unlikeliest token that a filter leaves says at every step where it cuts."""
    options = {"do_sample": True, "max_length": 11, "eos_token_id": 31, **WARPERS[warper]}
    if warper != "allowed":  # transformers gives rows, not images, to a prefix function then
        options["num_return_sequences"] = 2
    out, expected = generate_both(pair, **options)
    same_generation(out, expected)
    same_generation(*generate_both(pair, **{**options, "eos_token_id": None}))
    filtered = [np.isinf(np.array(scores)).sum(axis=1) for scores in out.scores]
    if warper not in ("temperature", "hot", "no top_k"):
        assert all((count > 0).all() and (count < 37).all() for count in filtered)


STRICT = {
    "top_k": {"top_k": 1},
    "top_p": {"top_p": 0.01},
    "min_p": {"min_p": 1.0},
    "typical_p": {"typical_p": 0.01},
    "epsilon_cutoff": {"epsilon_cutoff": 0.9},
    "eta_cutoff": {"eta_cutoff": 0.99, "temperature": 0.2},
    "several": {"temperature": 0.7, "top_k": 20, "top_p": 0.5, "typical_p": 0.2, "min_p": 0.1},
}


@pytest.mark.parametrize("ends", [31, [7, 34], None], ids=str)
@pytest.mark.parametrize("warper", STRICT)
def test_first_scores_of_beam_sampling(pair, warper, ends):
    """There a filter keeps as many ids as there are end tokens, and one more; two at least."""
    options = {"do_sample": True, "num_beams": 3, "max_length": 4, "eos_token_id": ends}
    out, expected = generate_both(pair, **options, **STRICT[warper])
    scores = np.array(out.scores[0])
    np.testing.assert_allclose(scores, expected.scores[0], rtol=1e-5, atol=2e-5)
    assert (scores > -np.inf).sum(axis=1).min() == (3 if ends == [7, 34] else 2)


MILD = {  # enough is left for all candidates
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 14},
    "top_p": {"top_p": 0.99},
    "min_p": {"min_p": 0.002},
    "typical_p": {"typical_p": 0.99},
    "epsilon_cutoff": {"epsilon_cutoff": 0.001},
    "eta_cutoff": {"eta_cutoff": 0.001},
    "several": {"temperature": 1.5, "top_k": 20, "top_p": 0.99, "renormalize_logits": True},
}


@pytest.mark.parametrize("warper", MILD)
def test_beam_sampling(pair, settled_draws, warper):
    for beams, penalty, early in ((2, 1.0, False), (3, 0.0, True)):
        out, expected = generate_both(
            pair,
            do_sample=True,
            num_beams=beams,
            num_return_sequences=2,
            length_penalty=penalty,
            early_stopping=early,
            eos_token_id=31,
            max_length=11,
            **MILD[warper],
        )
        same_generation(out, expected)
        if warper not in ("temperature", "several"):
            assert any(np.isinf(np.array(scores)).any() for scores in out.scores)


def test_sequences_of_one_image_stand_together(pair):
    """Also where they are drawn: shapes as transformers', the first scores of an image the same."""
    mx.random.seed(3)
    options = {"do_sample": True, "num_return_sequences": 4, "max_length": 9, "eos_token_id": None}
    out, expected = generate_both(pair, rows=2, **options)
    assert out.sequences.shape == tuple(expected.sequences.shape) == (8, 9)
    assert len(out.scores) == len(expected.scores) == 8
    np.testing.assert_allclose(np.array(out.scores[0]), expected.scores[0], rtol=1e-5, atol=2e-5)
    assert len({tuple(row) for row in out.sequences.tolist()}) > 4
    out, expected = generate_both(
        pair, rows=2, **{**options, "num_beams": 4, "num_return_sequences": 3, "top_k": 30}
    )
    assert out.sequences.shape == tuple(expected.sequences.shape) == (6, 9)
    assert out.beam_indices.shape == tuple(expected.beam_indices.shape) == (6, 8)


def test_draws_are_as_frequent_as_their_probability(pair):
    """4000 draws from transformers' first scores: each id within 4.5 standard deviations."""
    theirs, ours = pair
    x, y = image(theirs, 1)
    options = {"do_sample": True, "max_new_tokens": 1, "temperature": 1.3, "top_k": 12}
    expected = theirs.generate(x, return_dict_in_generate=True, output_scores=True, **options)
    probabilities = torch.softmax(expected.scores[0][0], dim=-1).numpy()
    mx.random.seed(7)
    tokens = ours.generate(y, num_return_sequences=4000, **options)
    within_bounds(np.array(tokens[:, 1]), probabilities)


def test_beams_are_drawn_without_replacement(pair):
    """2000 images' pairs of beams after one step: the first two of what is drawn, in any order."""
    theirs, ours = pair
    x, y = image(theirs, 1)
    options = {"do_sample": True, "max_new_tokens": 1, "top_k": 6, "eos_token_id": 31}
    options |= {"num_beams": 2, "num_return_sequences": 2, "temperature": 1.5}
    expected = theirs.generate(x, return_dict_in_generate=True, output_scores=True, **options)
    p = torch.softmax(expected.scores[0][0].double(), dim=-1).numpy()
    ordered = p[:, None] * p[None] / (1 - p[:, None]) * (1 - np.eye(37))
    mx.random.seed(7)
    features = mx.repeat(ours.encode(y), 2000, axis=0)
    tokens = np.array(ours.generate(encoder_outputs=(features,), **options))[:, 1].reshape(-1, 2)
    one, other = tokens.min(axis=1), tokens.max(axis=1)
    within_bounds(37 * one + other, np.triu(ordered + ordered.T).flatten())
    assert (p[tokens[:, 0]] >= p[tokens[:, 1]]).all()  # the better beam comes first


def within_bounds(drawn: np.ndarray, probabilities: np.ndarray) -> None:
    count = len(drawn)
    found = np.bincount(drawn, minlength=len(probabilities)) / count
    deviation = np.sqrt(probabilities * (1 - probabilities) / count)
    assert (np.abs(found - probabilities) <= 4.5 * deviation).all()
    assert (found > 0).sum() > 5


# where options come from


START = {"decoder_start_token_id": 2, "pad_token_id": 1}
FILE = {**START, "eos_token_id": 31, "max_length": 11, "num_beams": 3, "no_repeat_ngram_size": 2}
BEGIN = {"bos_token_id": 7, "eos_token_id": 31, "max_length": 9}
NOWHERE = {"eos_token_id": None, "pad_token_id": None, "decoder_start_token_id": None}
SOURCES: dict[str, dict[str, dict]] = {  # each source of the options, and what it has of them
    "file": {"file": FILE},
    "file beside older values": {
        "file": {**START, "eos_token_id": 31, "max_length": 11},
        "top": {"num_beams": 3, "no_repeat_ngram_size": 2, "max_length": 5},
        "decoder": {"repetition_penalty": 1.5},
    },
    "top": {"top": {"max_length": 9, "num_beams": 3, "repetition_penalty": 1.5}},
    "decoder": {
        "top": NOWHERE,
        "decoder": {**FILE, "length_penalty": 2.0, "pad_token_id": 5, "decoder_start_token_id": 7},
    },
    "top before decoder": {
        "top": {"max_length": 9, "num_beams": 2, "early_stopping": False, "eos_token_id": 7},
        "decoder": {"max_length": 12, "num_beams": 3, "early_stopping": True, "eos_token_id": 31},
    },
    "rules of the decoder": {
        "top": {"max_length": 9},
        "decoder": {
            "forced_bos_token_id": 9,
            "forced_eos_token_id": 2,
            "bad_words_ids": [[34]],
            "sequence_bias": [[[3], -0.5], [[9, 21], 2.0]],
            "exponential_decay_length_penalty": [2, 1.3],
            "suppress_tokens": [15],
            "begin_suppress_tokens": [3],
        },
    },
    "call": {"file": FILE, "call": {"num_beams": 1, "max_length": 8}},
    "new tokens in the call": {"file": FILE, "call": {"max_new_tokens": 5}},
    "new tokens in the file": {"file": {**FILE, "max_new_tokens": 5}},
    "least length": {"file": {**FILE, "min_length": 9}, "call": {"min_new_tokens": 3}},
    "argument": {"file": FILE, "argument": {"num_beams": 2, "max_length": 9}},
    "new tokens in the argument": {"file": FILE, "argument": {"max_new_tokens": 4}},
    "argument and call": {
        "file": FILE,
        "argument": {"num_beams": 2, "max_length": 9},
        "call": {"num_beams": 4, "length_penalty": -1.0},
    },
    "begin token": {"file": BEGIN},
    "start before begin": {"file": BEGIN, "call": {"decoder_start_token_id": 11}},
    "starts": {"file": FILE, "call": {"decoder_start_token_id": [3, 4, 5], "num_beams": 1}},
    "starts of beams": {"file": {**FILE, "decoder_start_token_id": [3, 4, 5]}},
    "no padding": {"file": {**FILE, "pad_token_id": None, "eos_token_id": [31, 15]}},
    "no end": {"file": {**START, "max_length": 12, "num_beams": 2}},
    "idle": {"file": {**FILE, "temperature": 0.6, "top_p": 0.9, "top_k": 3}},
    "older names": {
        "file": {
            **FILE,
            "num_beam_groups": 1,
            "diversity_penalty": 0.0,
            "encoder_no_repeat_ngram_size": 0,
            "return_dict_in_generate": False,
            "transformers_version": "4.30.0",
            "_from_model_config": True,
        },
    },
}


@pytest.fixture
def load_both(folder, pair, tmp_path):
    """The module's model with other options in its files, as both libraries read it."""

    def load(file: dict | None = None, top: dict | None = None, decoder: dict | None = None):
        config = json.loads((folder / "config.json").read_text())
        config |= {**(top or {}), "decoder": {**config["decoder"], **(decoder or {})}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        if file is not None:
            file = {name: value for name, value in file.items() if value is not None}
            (tmp_path / "generation_config.json").write_text(json.dumps(file))
        shutil.copy(folder / "model.safetensors", tmp_path)
        theirs = transformers.VisionEncoderDecoderModel.from_pretrained(tmp_path).eval()
        ours: Any = VisionEncoderDecoderModel.from_pretrained(tmp_path)
        return theirs, ours, *image(theirs, 3)

    return load


@pytest.mark.parametrize("sources", SOURCES.values(), ids=list(SOURCES))
def test_sources_of_options(load_both, sources):
    """What is written where, read by both; an argument is a config of each library's own."""
    files = {name: sources[name] for name in ("file", "top", "decoder") if name in sources}
    theirs, ours, x, y = load_both(**files)
    call, argument = sources.get("call", {}), sources.get("argument")
    given, same = dict(call), dict(call)
    if argument is not None:
        given["generation_config"] = transformers.GenerationConfig(**argument)
        same["generation_config"] = GenerationConfig(**argument)
    tokens = ours.generate(y, **same).tolist()
    assert tokens == theirs.generate(x, **given).tolist()
    assert len({tuple(row) for row in tokens}) > 1
    if argument is not None:
        assert ours.generate(y, generation_config=argument, **call).tolist() == tokens


def test_a_start_for_each_row_before_a_prompt(pair):
    """It is put there unless some row begins with its own."""
    for prompt in ([[2, 4], [7, 8], [9, 9]], [[4, 5], [7, 8], [9, 9]], [[4, 3], [4, 8], [9, 9]]):
        for beams in (1, 3):
            out, expected = generate_both(
                pair, decoder_start_token_id=[3, 4, 5], prompt=prompt, num_beams=beams, max_length=9
            )
            same_generation(out, expected)
            assert (out.sequences[0, 0].item() == 3) == (prompt[1][0] != 4)


def test_an_unset_length_goes_to_the_end_of_the_table(load_both):
    """Where transformers takes 20 new tokens; told that length, it gives the same."""
    theirs, ours, x, y = load_both({**START, "eos_token_id": 31})
    limit = TROCR["max_position_embeddings"] + 1  # the last token is not fed
    for options in ({}, {"num_beams": 3, "length_penalty": 2.0}):
        tokens = ours.generate(y, **options).tolist()
        assert tokens == theirs.generate(x, max_length=limit, **options).tolist()
        assert len(tokens[0]) == limit == 21
        with pytest.warns(UserWarning, match="max_length"):
            assert theirs.generate(x, **options).shape[1] == 21


# batches


@pytest.mark.parametrize(
    "options",
    [
        {},
        RULES["no_repeat_ngram_size"],
        RULES["logits_processor"],
        RULES["prefix_allowed_tokens_fn"],
        {"num_return_sequences": 2},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_batch_is_its_images_one_by_one(pair, settled_draws, options):
    """The same where rows that have ended are dropped, which asking for scores forbids.

    A prefix function is told an image by its place, so alone each is the first.
    """
    theirs, ours = pair
    _, y = image(theirs, 8)
    settings = {"max_length": 18, "eos_token_id": [7, 34], "pad_token_id": 1, **options}
    settings["do_sample"] = "num_return_sequences" in options
    kept = ours.generate(y, output_scores=True, return_dict_in_generate=True, **settings)
    assert ours.generate(y, **settings).tolist() == kept.sequences.tolist()
    lengths, count = set(), len(kept.sequences) // 8
    own = settings.get("prefix_allowed_tokens_fn")
    for place in range(8):
        if own is not None:
            settings["prefix_allowed_tokens_fn"] = lambda _, ids, i=place: own(i, ids)
        alone = ours.generate(
            y[place : place + 1], output_scores=True, return_dict_in_generate=True, **settings
        )
        rows, width = slice(place * count, (place + 1) * count), alone.sequences.shape[1]
        lengths.add(width)
        assert kept.sequences[rows, :width].tolist() == alone.sequences.tolist()
        assert (np.array(kept.sequences[rows, width:]) == 1).all()
        for step, scores in enumerate(alone.scores):
            np.testing.assert_allclose(
                np.array(kept.scores[step][rows]), np.array(scores), rtol=1e-5, atol=1e-5
            )
    assert len(lengths) > 2


def test_a_batch_is_that_of_transformers(pair):
    """Nine rows, many of which end, through the path that drops them."""
    theirs, ours = pair
    x, y = image(theirs, 9)
    for ends in (31, [7, 34], [15, 7, 34, 25]):
        for beams in (1, 4):
            options = {"eos_token_id": ends, "num_beams": beams, "max_length": 19}
            expected = theirs.generate(x, **options).tolist()
            assert ours.generate(y, **options).tolist() == expected
