"""Beam search against transformers', through folders it saved, on models whose beams cross.

Sequences, the rows that tokens came from and the order of beams are equal; scores of sequences
within 1e-5 of their size, logits and scores of every row and step within 2e-5.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from mlx_vedec import load
from tests.parity.reference import (
    DECODER_SIZES,
    PROMPTS,
    RULES,
    discouraged,
    generate_both,
    image,
    lively_pair,
    one_thread,
    same_generation,
    same_sequences,
)

ENDS = (None, 31, [7, 34], [15, 7, 34])


@pytest.fixture(autouse=True, scope="module")
def threads():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return lively_pair(tmp_path_factory.mktemp("beams"), seed=2)


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [1.0, 0.0, -1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 3, 4])
def test_search(models, beams, penalty, early):
    """With every way to stop: all prompts, ends, paddings and numbers of sequences in turn."""
    turn = itertools.product((2, 3, 4), (1.0, 0.0, -1.0, 2.0), (False, True, "never"))
    place = list(turn).index((beams, penalty, early))
    for step in range(2):
        options = {
            "num_beams": beams,
            "length_penalty": penalty,
            "early_stopping": early,
            "eos_token_id": ENDS[(place + place // 4 + step) % 4],
            "pad_token_id": (place + step) % 2,
            "num_return_sequences": 1 + (place // 3 + step) % beams,
            "max_length": (12, 15)[step],
        }
        prompt = PROMPTS[list(PROMPTS)[(2 * place + step) % 5]]
        same_generation(*generate_both(models, **prompt, **options))


def test_the_search_is_worth_testing(models):
    """Beams cross, end at different lengths, in all their number or in a part of it."""
    out, _ = generate_both(
        models, num_beams=4, num_return_sequences=4, eos_token_id=[7, 34], max_length=16
    )
    rows = np.array(out.beam_indices)
    lengths = (rows >= 0).sum(axis=1)
    assert len(set(lengths.tolist())) > 4 and lengths.max() == 15
    there = rows[:, 1:] >= 0
    assert (rows[:, 1:] != rows[:, :-1])[there].mean() > 0.25
    assert len({tuple(row) for row in out.sequences.tolist()}) > 9


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [2.0, 0.7, -0.3, -0.7])
def test_a_search_that_is_sure(models, penalty, early):
    """Where few tokens are likely, beams that end late may still replace some that ended early."""
    sure = {"logits_processor": [lambda tokens, scores: 4 * scores], "renormalize_logits": True}
    options = {"num_beams": 4, "length_penalty": penalty, "early_stopping": early, **sure}
    ends = [31, 6, 15, 2, 7, 25] if penalty in (2.0, -0.3) else [0, 31, 6]
    options |= {"num_return_sequences": 4, "eos_token_id": ends, "max_length": 19}
    same_generation(*generate_both(models, rows=9, **options), 1e-4)


@pytest.mark.parametrize("rule", RULES)
def test_rule(models, rule):
    """Beside the same search without the rule, which gives something else."""
    _, y = image(models[0], 3)
    options: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "max_length": 12}
    options["eos_token_id"] = 31
    out, expected = generate_both(models, **options, **RULES[rule])
    same_generation(out, expected)
    assert out.sequences.tolist() != models[1].generate(y, **options).tolist()
    options |= {"eos_token_id": [7, 34], **PROMPTS["padded"]}
    same_generation(*generate_both(models, **options, **RULES[rule]))


TOGETHER = {  # some rules at once, in the order of a table, from several places of it
    "bans": ("sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids"),
    "lengths": ("min_length", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay"),
    "begin": ("begin_suppress_tokens", "forced_bos_token_id", "min_new_tokens", "manga-ocr"),
    "allowed": ("prefix_allowed_tokens_fn", "repetition_penalty", "renormalize_logits"),
    "valid": ("remove_invalid_values", "no_repeat_ngram_size", "sequence_bias"),
    "own": ("logits_processor", "suppress_tokens", "repetition_penalty", "renormalize_logits"),
}


@pytest.mark.parametrize("rules", TOGETHER)
def test_rules_together(models, rules):
    chosen = {name: value for rule in TOGETHER[rules] for name, value in RULES[rule].items()}
    options = {"num_beams": 4, "num_return_sequences": 3, "eos_token_id": [31, 7], **chosen}
    for prompt, length in (("start", 13), ("padded, unstarted", 11)):
        same_generation(*generate_both(models, max_length=length, **PROMPTS[prompt], **options))


@pytest.mark.parametrize("penalty", [1.0, 2.0])
@pytest.mark.parametrize("normalize", [False, True])
def test_transition_scores(models, normalize, penalty):
    options = {"num_beams": 3, "num_return_sequences": 3, "eos_token_id": [7, 34]}
    out, expected = generate_both(
        models, **options, max_length=13, length_penalty=penalty, repetition_penalty=1.3
    )
    theirs, ours = models
    found = ours.compute_transition_scores(
        out.sequences, out.scores, out.beam_indices, normalize_logits=normalize
    )
    reference = theirs.compute_transition_scores(
        expected.sequences, expected.scores, expected.beam_indices, normalize_logits=normalize
    )
    np.testing.assert_allclose(np.array(found), reference, rtol=1e-5, atol=2e-5)
    if not normalize:
        lengths = (np.array(out.beam_indices) >= 0).sum(axis=1)
        scores = np.array(found).sum(axis=1) / lengths**penalty
        np.testing.assert_allclose(scores, np.array(out.sequences_scores), rtol=1e-5)


def test_new_tokens_are_counted_after_the_prompt(models):
    for prompt in PROMPTS.values():
        out, expected = generate_both(
            models, num_beams=2, max_new_tokens=5, min_new_tokens=2, eos_token_id=31, **prompt
        )
        same_generation(out, expected)
        added = 1 if "prompt" not in prompt or len(prompt["prompt"][0]) == 2 else 0
        assert out.sequences.shape[1] <= len(prompt.get("prompt", [[]])[0]) + added + 5


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("ends", [None, 31])
def test_stopping_criteria(models, ends, early):
    """Rows that a function stops. Beams that may not go on are still fed, in an order by chance."""

    def stops(tokens, scores, **_):
        return (tokens.sum(1) % 3 == 0) & (tokens.shape[1] > 4)

    options = {"num_beams": 3, "num_return_sequences": 3, "max_length": 14, "eos_token_id": ends}
    out, expected = generate_both(
        models, **options, early_stopping=early, stopping_criteria=[stops]
    )
    same_sequences(out, expected)
    assert len(out.scores) == len(expected.scores)
    assert len({sum(i >= 0 for i in row) for row in np.array(out.beam_indices).tolist()}) > 2


def test_a_rule_of_one_row(models):
    """mlx-lm's processors (tokens (T,), logits (1, V)) do what transformers' do row by row."""
    _, ours = models
    _, y = image(models[0], 3)
    options = {"num_beams": 3, "max_length": 10, "eos_token_id": 31}

    def own(tokens, logits):
        assert tokens.ndim == 1 and logits.shape == (1, 37)
        return discouraged(tokens[None], logits)

    whole = ours.generate(y, logits_processor=[discouraged], **options)
    assert ours.generate(y, logits_processors=[own], **options).tolist() == whole.tolist()


MANGA_OCR = {
    "num_beams": 4,
    "no_repeat_ngram_size": 3,
    "length_penalty": 2.0,
    "early_stopping": True,
    "num_return_sequences": 4,
    "max_length": 13,
}


@pytest.mark.parametrize("decoder", DECODER_SIZES)
def test_decoder(tmp_path, decoder):
    """As manga-ocr searches; after padded prompts also with ends that come early."""
    models = lively_pair(tmp_path, decoder=(decoder, {}))
    same_generation(*generate_both(models, **MANGA_OCR))
    ends = {"eos_token_id": [7, 12, 15], **PROMPTS["padded"]}
    same_generation(*generate_both(models, **MANGA_OCR, **ends, **RULES["repetition_penalty"]))


@pytest.mark.parametrize("encoder", ["ViT", "Swin", "DonutSwin"])
def test_encoder(tmp_path, encoder):
    """Donut's prompts are taken whole; others get the start token where none has it."""
    models = lively_pair(tmp_path, encoder=(encoder, {}), decoder=("MBart", {}))
    for name in ("start", "started", "unstarted", "padded, unstarted"):
        out, expected = generate_both(models, **MANGA_OCR, **PROMPTS[name])
        same_generation(out, expected, 1e-4 if encoder == "DonutSwin" else 2e-5)
        if name == "unstarted":
            first = out.sequences[:, 0].tolist()
            assert first == ([4] * 4 + [7] * 4 + [9] * 4 if encoder == "DonutSwin" else [2] * 12)


DROPPING = {
    "plain": {"eos_token_id": 31},
    "early": {"eos_token_id": [7, 34], "early_stopping": True, "num_return_sequences": 3},
    "rules": {"eos_token_id": [15, 7], **RULES["repetition_penalty"], "length_penalty": 0.0},
    "image": {
        "eos_token_id": [7, 34],
        "early_stopping": True,
        **RULES["prefix_allowed_tokens_fn"],
    },
}


@pytest.mark.parametrize("options", DROPPING.values(), ids=list(DROPPING))
def test_a_batch_is_its_images_one_by_one(models, options):
    """And it is the same where rows that have ended are dropped, which asking for scores forbids.

    A prefix function is told an image by its place, so alone each is the first.
    """
    _, ours = models
    _, y = image(models[0], 7)
    settings = {"num_beams": 3, "max_length": 16, "return_dict_in_generate": True, **options}
    kept = ours.generate(y, output_scores=True, **settings)
    dropped = ours.generate(y, **settings)
    assert dropped.sequences.tolist() == kept.sequences.tolist()
    assert dropped.beam_indices.tolist() == kept.beam_indices.tolist()
    np.testing.assert_allclose(
        np.array(dropped.sequences_scores), np.array(kept.sequences_scores), rtol=1e-5
    )
    own = settings.get("prefix_allowed_tokens_fn")
    lengths = set()
    for place in range(7):
        if own is not None:
            settings["prefix_allowed_tokens_fn"] = lambda _, ids, i=place: own(i, ids)
        alone = ours.generate(y[place : place + 1], **settings)
        count = len(alone.sequences)
        rows = slice(place * count, (place + 1) * count)
        width = alone.sequences.shape[1]
        lengths.add(width)
        assert kept.sequences[rows, :width].tolist() == alone.sequences.tolist()
        assert (np.array(kept.sequences[rows, width:]) == 1).all()
        np.testing.assert_allclose(
            np.array(kept.sequences_scores[rows]), np.array(alone.sequences_scores), rtol=1e-5
        )
    assert len(lengths) > 2


@pytest.mark.slow
def test_the_trained_checkpoint(shared):
    """Fifty lines, four beams of each: their ids, their texts and their scores."""
    folder = shared / "checkpoints" / "tiny-ocr"
    rows = json.loads((folder / "reference_outputs.json").read_text())["images"]
    model, processor = load(folder)
    for start in range(0, len(rows), 25):
        batch = [row["beam4"] for row in rows[start : start + 25]]
        files = [folder / "val" / row["file"] for row in rows[start : start + 25]]
        pixels = processor(images=files).pixel_values
        out: Any = model.generate(
            pixels, num_beams=4, num_return_sequences=4, return_dict_in_generate=True
        )
        texts = processor.batch_decode(out.sequences, skip_special_tokens=True)
        assert texts == [text for row in batch for text in row["all_texts"]]
        for ids, expected in zip(
            out.sequences.tolist(), (ids for row in batch for ids in row["all_ids"]), strict=True
        ):
            assert ids[: len(expected)] == expected and set(ids[len(expected) :]) <= {1}
        scores = [score for row in batch for score in row["all_scores"]]
        np.testing.assert_allclose(np.array(out.sequences_scores), scores, rtol=1e-5, atol=2e-5)
