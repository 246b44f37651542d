"""`mlx_vedec lora --new-vocabulary` and `--shrink-vocabulary`: trained, loaded, fused, resumed."""

from __future__ import annotations

import json
import shutil

import mlx.core as mx
import pytest

from mlx_vedec import export_peft, load
from mlx_vedec.conversion.fuse import fuse_checkpoint
from mlx_vedec.errors import ConfigError, OptionError, TokenError
from tests.commands.test_commands import failed
from tests.commands.test_lora import (
    LINE,
    data,
    fill,
    model,
    place,
    receipts,
    run,
    tensors,
    tune,
)
from tests.tasks.test_tasks import LETTERS, TAGS, folder, write

__all__ = ["data", "folder", "model", "place", "receipts", "run", "tune"]  # fixtures
TASK = ("<s_cord-v2>", *TAGS[1:])
GREEK = ("καλημέρα σου", "\u03b1\u0301 άλφα", "tea")


@pytest.fixture
def greek(data):
    """The data with texts of another script, one letter of it in two normal forms."""
    return fill(data, train=GREEK, valid=GREEK[:2], test=GREEK[:1])


def logits(made, tokens):
    model, processor = made
    return model(processor.pixels([LINE]), mx.array([tokens])).logits


@pytest.mark.parametrize("kind", ["lora", pytest.param("full", marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [None, pytest.param(35, marks=pytest.mark.slow)])
def test_a_vocabulary_is_learned_and_goes_with_the_adapters(
    tune, greek, model, tmp_path, kind, size
):
    out = tmp_path / "out"
    sized = () if size is None else ("--vocabulary-size", size)
    flags = ("--new-vocabulary", "--fine-tune-type", kind, *sized)
    code, _, err = tune(*flags, "--test", "--generate")
    assert code == 0, err
    count = size or 4 + len({*"".join(GREEK)})
    assert f"vocabulary: {count} tokens, " in err and "in place of 31" in err
    assert "write ά in two ways" in err
    made = load(model, adapter_path=out)
    tokenizer = made[1].tokenizer
    assert len(tokenizer) == count == made[0].config.decoder.vocab_size
    for text in GREEK:
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (1, 2)
    trained = mx.load(str(out / "training_state" / "0000004" / "trained.safetensors"))
    assert "decoder.embed_tokens.weight" in trained  # whatever else is trained
    fused = load(fuse_checkpoint(model, out, tmp_path / "fused"))
    assert fused[1].tokenizer.content == tokenizer.content
    assert (
        json.loads((tmp_path / "fused" / "config.json").read_text())["decoder"]["vocab_size"]
        == count
    )
    tokens = [2, *tokenizer.encode(GREEK[0], add_special_tokens=False)[:9]]
    assert mx.allclose(logits(fused, tokens), logits(made, tokens), atol=1e-4)


@pytest.mark.slow
def test_letters_that_the_model_knows_keep_their_rows(tune, greek, model, tmp_path):
    """Before the first update; the others are drawn."""
    assert tune("--new-vocabulary", "--learning-rate", 0)[0] == 0
    before, after = load(model), load(model, adapter_path=tmp_path / "out")
    old, new = (made[0].decoder.embed_tokens.weight for made in (before, after))
    for token in ("t", "e", "a", " ", "</s>"):
        was, now = (made[1].tokenizer.backend.token_to_id(token) for made in (before, after))
        assert mx.allclose(old[was], new[now], atol=1e-6), token


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--new-vocabulary", "--shrink-vocabulary"])
def test_a_resumed_training_has_the_tokens_it_was_begun_with(tune, greek, tmp_path, flag):
    assert tune(flag, "--iters", 2)[0] == 0
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    assert tune(flag, "--resume", "--iters", 4)[0] == 0
    assert tune(flag, "--iters", 4, out="whole")[0] == 0
    assert tensors(tmp_path / "out") == tensors(tmp_path / "whole")
    other = {"--new-vocabulary", "--shrink-vocabulary"} - {flag}
    failed(tune(*other, "--resume", out="copy"), f"{[*other][0][2:].replace('-', '_')} was None")
    fill(greek, train=("tea bag", *GREEK[1:]), valid=GREEK[:1])
    code, _, err = tune("--resume", "--iters", 4, out="copy")
    assert code == 1
    assert "the texts have another vocabulary than the training in" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_training_that_was_given_up_leaves_no_vocabulary(tune, data, model, tmp_path):
    """It ended before there was anything to resume, and another one has its folder."""
    assert tune("--new-vocabulary", "--iters", 1)[0] == 0
    for name in ("training_state", "adapters.safetensors"):
        path = tmp_path / "out" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    fill(data, train=("figs", "tea"))
    assert tune("--new-vocabulary", "--iters", 1)[0] == 0  # of other letters
    shutil.rmtree(tmp_path / "out" / "training_state")
    (tmp_path / "out" / "adapters.safetensors").unlink()
    assert tune()[0] == 0
    assert len(load(model, adapter_path=tmp_path / "out")[1].tokenizer) == 31


@pytest.mark.slow
def test_adapters_to_begin_with_bring_their_vocabulary(tune, greek, model, tmp_path):
    assert tune("--new-vocabulary")[0] == 0
    start = ("--resume-adapter-file", tmp_path / "out")
    failed(tune(*start, "--new-vocabulary", out="more"), "for their own vocabulary; leave out")
    assert tune(*start, "--learning-rate", 0, out="more")[0] == 0
    assert tensors(tmp_path / "more") == tensors(tmp_path / "out")
    first, second = (load(model, adapter_path=tmp_path / name) for name in ("out", "more"))
    assert first[1].tokenizer.content == second[1].tokenizer.content


@pytest.mark.slow
def test_a_vocabulary_is_shrunk(tune, model, tmp_path):
    """The texts are the same tokens, so that the model computes the same for them."""
    code, _, err = tune("--shrink-vocabulary", "--learning-rate", 0)
    assert code == 0 and "vocabulary: 21 tokens, 0 of them new, in place of 31" in err
    old, new = load(model), load(model, adapter_path=tmp_path / "out")
    own = tensors(tmp_path / "out")
    assert own and all(name.endswith((".lora_a", ".lora_b")) for name in own)
    rows = [2], [2]
    for made, row in zip((old, new), rows, strict=True):
        row += made[1].tokenizer.encode("a cup", add_special_tokens=False)
    assert rows[0] != rows[1]
    was, now = logits(old, rows[0]), logits(new, rows[1])
    columns = mx.array(rows[1]), mx.array(rows[0])
    assert mx.allclose(now[..., columns[0]], was[..., columns[1]], atol=1e-4)


def test_tags_and_prompts_are_kept(run, place, tmp_path):
    """Donut's: tags are tokens and no characters, and questions are spelled too."""
    write(place, [*TASK, *"abcdefghij"], "DonutProcessor")
    target = fill(tmp_path / "data", train=(), valid=())
    for split in ("train", "valid"):
        row = {"image": f"{split}.png", "text": "hat</s_answer>", "prompt": "ξ"}
        (target / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    common = ("--model", place, "--data", target, "--adapter-path", tmp_path / "out")
    code, _, err = run("lora", *common, "--train", "--iters", 1, "--new-vocabulary")
    assert code == 0, err
    tokenizer = load(place, adapter_path=tmp_path / "out")[1].tokenizer
    assert set(tokenizer.backend.get_vocab()) == {
        *("<s>", "<pad>", "</s>", "<unk>", "h", "a", "t", "ξ"),
        *TASK,
    }


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--new-vocabulary", "--shrink-vocabulary"])
def test_tags_that_are_added_and_another_vocabulary(run, place, receipts, tmp_path, flag):
    """The base that adapters are loaded on has neither."""
    write(place, ["<s_cord-v2>", "<sep/>", *LETTERS], "DonutProcessor")
    out = tmp_path / "out"
    common = ("--model", place, "--data", receipts, "--adapter-path", out)
    code, _, err = run("lora", *common, "--train", "--iters", 1, "--add-tokens", flag)
    assert code == 0 and "added 6 tokens" in err, err
    model, processor = load(place, adapter_path=out)
    tags = processor.tokenizer.backend.encode("<s_menu><s_nm>", add_special_tokens=False)
    assert tags.tokens == ["<s_menu>", "<s_nm>"]
    trained = mx.load(str(out / "training_state" / "0000001" / "trained.safetensors"))
    table = model.decoder.embed_tokens.weight
    assert mx.array_equal(table, trained["decoder.embed_tokens.weight"])
    fused, _ = load(fuse_checkpoint(place, out, tmp_path / "fused"))
    assert mx.allclose(fused.decoder.embed_tokens.weight, table, atol=1e-6)


# what is refused


def test_peft_has_no_place_for_another_vocabulary(tune, model, tmp_path):
    assert tune("--shrink-vocabulary")[0] == 0
    made, _ = load(model, adapter_path=tmp_path / "out")
    with pytest.raises(OptionError, match="another vocabulary than .*/model, for which PEFT's"):
        export_peft(made, tmp_path / "peft")
    export_peft(made, tmp_path / "peft", base="a folder with this vocabulary")
    assert (tmp_path / "peft" / "adapter_config.json").is_file()


def test_flags_that_do_not_go_together(tune):
    failed(tune("--new-vocabulary", "--shrink-vocabulary"), "are both given; expected one")
    failed(tune("--vocabulary-size", 50), "vocabulary_size is given without new_vocabulary")
    failed(tune("--new-vocabulary", "--vocabulary-size", 0), "vocabulary_size is 0; expected 1")
    failed(tune("--new-vocabulary", "--vocabulary-size", 5), "vocabulary_size is 5; expected 21")
    code, _, err = tune("--new-vocabulary", "--freeze", "embeddings")
    assert code == 1 and "both name decoder.embed_tokens.weight" in err
    assert "new tokens have the embedding and the head trained" in err


@pytest.mark.parametrize("flag", ["--new-vocabulary", "--shrink-vocabulary"])
def test_a_quantized_model(tune, tmp_path, flag):
    failed(tune(flag, "--quantize", 8), "the embedding is quantized; dequantize the model before")
    failed(tune(flag, "--quantize", 8), "or give the one that it was made from")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--new-vocabulary", "--shrink-vocabulary"])
def test_texts_without_characters(tune, data, flag):
    fill(data, train=("  ", " "))
    failed(tune(flag), "there are 2 texts and no characters in them")
    fill(data, train=("tea", "\udc80"))
    failed(tune(flag), "train.jsonl")


def test_a_special_token_that_would_be_lost(tune, model):
    """The config names one that the tokenizer does not have, as where it is another model's."""
    path = model / "generation_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "forced_bos_token_id": 39}))
    failed(tune("--new-vocabulary"), "a special token would be lost: the model's configs name the")


@pytest.mark.slow
def test_a_vocabulary_of_another_model(tune, greek, model, tmp_path):
    assert tune("--new-vocabulary")[0] == 0
    fused = fuse_checkpoint(model, tmp_path / "out", tmp_path / "fused")
    with pytest.raises(TokenError, match="is for a model of 40 tokens, and this one has 21"):
        load(fused, adapter_path=tmp_path / "out")
    path = tmp_path / "out" / "vocabulary.json"
    for sources in (None, [0, 1], ["a"] * 21, [99] * 21):
        path.write_text(json.dumps({"rows": 40, "sources": sources}))
        with pytest.raises(ConfigError, match="is not what lora writes; expected rows"):
            load(model, adapter_path=tmp_path / "out")
