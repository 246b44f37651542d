"""BART's kin behind ViT against transformers, through folders it saved."""

import json

import mlx.core as mx
import numpy as np
import pytest

from mlx_vedec import VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig
from mlx_vedec.checkpoints.weights import parameters
from mlx_vedec.decoders import DECODERS
from mlx_vedec.decoders.bart import BartConfig, PLBartConfig
from mlx_vedec.decoders.mbart import MarianConfig, MBartForCausalLM
from mlx_vedec.decoders.positions import SinusoidalTable
from mlx_vedec.errors import ConfigError, TokenError, WeightsError
from tests.parity import decoder_checks as checks
from tests.parity.reference import (
    BART,
    VIT,
    check_pair,
    close,
    image,
    pair,
    torch,
    transformers as hf,
)

STEMS = (
    "Bart",
    "PLBart",
    "Mvp",
    "MBart",
    "Blenderbot",
    "BlenderbotSmall",
    "Pegasus",
    "Marian",
    "BigBirdPegasus",
)
SINES = ("Pegasus", "Marian")
STORED = "model.decoder.embed_positions.weight"  # their table
CHANGES = {
    "plain": {},
    "sizes": {
        "vocab_size": 29,
        "d_model": 33,
        "decoder_attention_heads": 3,
        "decoder_ffn_dim": 20,
        "decoder_layers": 1,
        "max_position_embeddings": 24,
        "activation_function": "relu",
    },
    "same-width": {"d_model": 24, "decoder_attention_heads": 1, "activation_function": "gelu_new"},
    "untied": {"tie_word_embeddings": False, "activation_function": "quick_gelu"},
    "ids": {"pad_token_id": 3, "decoder_start_token_id": 5, "eos_token_id": 6, "bos_token_id": 7},
    "scaled": {"scale_embedding": True, "init_std": 0.3},
    "unscaled": {"scale_embedding": False, "pad_token_id": 0, "activation_function": "silu"},
}


@pytest.mark.parametrize(
    ("stem", "changes"),
    [
        (stem, changes)
        for stem in STEMS
        for changes in CHANGES
        # transformers 5.23 does not scale it; see test_blenderbot_small_scales
        if (stem, changes) != ("BlenderbotSmall", "scaled")
    ],
)
def test_logits_loss_and_tokens(tmp_path, stem, changes):
    check_pair(tmp_path, checks.VIT, (stem, CHANGES[changes]))


@pytest.mark.parametrize("stem", STEMS)
def test_traces(tmp_path, stem):
    checks.check_traces(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", STEMS)
def test_prompts(tmp_path, stem):
    checks.check_prompts(tmp_path, (stem, {}))


@pytest.mark.parametrize("stem", [*STEMS, "scaled"])
def test_masks_padding_and_embeddings(tmp_path, stem):
    """Padding counts as a position. Pegasus and Marian alone scale embeddings that are given."""
    scaled = {"scale_embedding": stem != "BlenderbotSmall"}
    checks.check_masks(tmp_path, ("Bart" if stem == "scaled" else stem, scaled))


@pytest.mark.parametrize("stem", STEMS)
def test_cached_is_uncached(tmp_path, stem):
    checks.check_cache(tmp_path, (stem, {}))


@pytest.mark.parametrize(
    ("stem", "tied"),
    [
        (stem, tied)
        for stem in STEMS
        for tied in (True, False)
        # transformers 5.24 does not tie it; see test_a_head_that_transformers_does_not_tie
        if (stem, tied) != ("BigBirdPegasus", True)
    ],
)
def test_saved_folder_opens_in_transformers(tmp_path, stem, tied):
    checks.check_saved(tmp_path, (stem, {"tie_word_embeddings": tied}))


@pytest.mark.parametrize("stem", STEMS)
def test_halves(tmp_path, stem):
    checks.check_halves(tmp_path, (stem, {"scale_embedding": True}))


@pytest.mark.parametrize("stem", STEMS)
def test_new_weights_are_spread_as_theirs(tmp_path, stem):
    changes = {"init_std": 0.1, "tie_word_embeddings": False, "pad_token_id": 4}
    checks.check_new_weights(tmp_path, (stem, changes))


@pytest.mark.parametrize("stem", ["Bart", "MBart"])
def test_dropouts(stem):
    names = ("dropout", "attention_dropout", "activation_dropout", "decoder_layerdrop")
    checks.check_dropout((stem, {}), *names)


@pytest.mark.parametrize("stem", STEMS)
def test_defaults(stem):
    checks.check_defaults(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_every_row_is_used(stem):
    checks.check_rows([(stem, {"tie_word_embeddings": False})])


def test_biases_of_bigbird_pegasus(tmp_path):
    check_pair(tmp_path, checks.VIT, ("BigBirdPegasus", {"use_bias": True}))


def test_a_head_that_transformers_does_not_tie(tmp_path):
    """A file without one, as version 4 wrote it, has the embedding here; what we save has both."""
    theirs, _ = pair(tmp_path / "theirs", checks.VIT, ("BigBirdPegasus", {}))
    theirs.decoder.lm_head.weight = theirs.decoder.get_input_embeddings().weight
    head = "decoder.lm_head.weight"
    stored = {k: v for k, v in theirs.state_dict().items() if k != head}
    theirs.save_pretrained(tmp_path / "tied", state_dict=stored)
    ours = VisionEncoderDecoderModel.from_pretrained(tmp_path / "tied")
    assert ours.ties_head and "lm_head" not in ours.decoder and not ours.decoder.new_weights
    ours.save_pretrained(tmp_path / "ours")
    again, report = hf.VisionEncoderDecoderModel.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not any(report.values()), report
    x, y = image(theirs)
    ids = torch.from_numpy(checks.IDS)
    out = ours(y, decoder_input_ids=mx.array(checks.IDS)).logits
    with torch.no_grad():
        close(out, theirs(pixel_values=x, decoder_input_ids=ids).logits)
        close(out, again(pixel_values=x, decoder_input_ids=ids).logits)
    assert VisionEncoderDecoderModel.from_pretrained(tmp_path / "ours").ties_head


@pytest.mark.parametrize("name", ["shared.weight", "model.shared.weight"])
@pytest.mark.parametrize("stem", STEMS)
def test_one_embedding_for_both_halves(tmp_path, stem, name):
    """transformers 5.23 does not know the name and leaves the embedding random; ours is read.

    The first half's tensors, the logits' unused bias and stored sines are left out.
    """
    table = "decoder.model.decoder.embed_tokens.weight"

    def rename(tensors):
        renamed = {key: tensor for key, tensor in tensors.items() if key != table}
        unused = {
            "decoder.final_logits_bias": mx.ones((1, 37)),
            "decoder.model.encoder.layers.0.fc1.weight": mx.ones((2, 2)),
            "decoder.model.decoder.version": mx.ones((1,)),
            "decoder.model.decoder.embed_positions.weights": mx.ones((1,)),
        }
        return {**renamed, **unused, f"decoder.{name}": tensors[table]}

    checks.check_names(tmp_path, (stem, {}), rename)


@pytest.mark.parametrize("first", [True, False])
def test_two_embeddings(tmp_path, first):
    """The decoder's own is read, as in transformers, wherever in the file the other one is."""

    def rename(tensors):
        other = {"decoder.shared.weight": mx.ones((37, 32))}
        return {**other, **tensors} if first else {**tensors, **other}

    checks.check_names(tmp_path, ("Bart", {}), rename)


@pytest.mark.parametrize("stem", SINES)
def test_sines_are_computed(tmp_path, stem):
    """A file need not have them, and they are not parameters."""

    def without(tensors):
        return {key: tensor for key, tensor in tensors.items() if "embed_positions" not in key}

    checks.check_names(tmp_path, (stem, {}), without)


@pytest.mark.parametrize("width", [512, 33])
def test_sines_far_along(width):
    """Every row of transformers' table, which it makes in float64."""
    theirs = hf.models.marian.modeling_marian.MarianSinusoidalPositionalEmbedding(1024, width)
    close(SinusoidalTable(1024, width)(mx.arange(1024)), theirs.create_weight(), 1e-7)


def model_of(config) -> VisionEncoderDecoderModel:
    """A new model of a decoder's config, in eval mode."""
    parts = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**VIT), config)
    return VisionEncoderDecoderModel(parts).eval()


def test_a_new_model_of_sines_opens_in_transformers(tmp_path):
    """Its file has no table of sines, which transformers then computes too."""
    ours = model_of(MarianConfig.from_dict(BART))
    ours.save_pretrained(tmp_path)
    theirs, report = hf.VisionEncoderDecoderModel.from_pretrained(
        tmp_path, output_loading_info=True
    )
    missing = {name for name in report["missing_keys"] if "pooler" not in name}
    assert missing == {f"decoder.{STORED}"}
    x, y = image(theirs)
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(checks.IDS))
    close(ours(y, decoder_input_ids=mx.array(checks.IDS)).logits, expected.logits)


def test_blenderbot_small_scales(tmp_path):
    """transformers 5.23 forgot the factor that version 4 applied, also to embeddings given.

    The reference here is theirs, given scaled embeddings. A norm follows, so that the factor is
    seen through its epsilon alone: with small embeddings, as new ones are.
    """
    theirs, ours = pair(tmp_path, checks.VIT, ("BlenderbotSmall", {"scale_embedding": True}))
    small = np.random.default_rng(4).normal(size=(2, 5, 32)).astype(np.float32) * 0.01
    x, y = image(theirs)
    with torch.no_grad():
        given = {"pixel_values": x, "decoder_inputs_embeds": torch.from_numpy(small)}
        forgotten = theirs(**given).logits
        given["decoder_inputs_embeds"] = torch.from_numpy(small * np.float32(32**0.5))
        expected = theirs(**given).logits
    close(ours(y, decoder_inputs_embeds=mx.array(small)).logits, expected)
    table = mx.concatenate([mx.array(small).flatten(0, 1), mx.zeros((27, 32))])
    ours.decoder.untie()
    ours.decoder.embed_tokens.weight = table
    out = ours(y, decoder_input_ids=mx.arange(10).reshape(2, 5)).logits
    close(out, expected)
    assert (forgotten - expected).abs().max() > 1e-2


@pytest.mark.parametrize("stem", ["Bart", "Blenderbot"])
def test_more_layers_than_the_first_half(tmp_path, stem):
    """transformers 5.23 sizes its cache by the encoder's layers and fails; without one it works."""
    theirs, ours = pair(tmp_path, checks.VIT, (stem, {"encoder_layers": 1}))
    x, y = image(theirs)
    with torch.no_grad():
        tokens = theirs.generate(x, max_length=12, do_sample=False, use_cache=False)
    assert ours.generate(y, max_length=12).tolist() == tokens.tolist()


def test_marian_with_two_vocabularies(tmp_path):
    """The decoder's is the one that counts. transformers 5.23 fails on labels then."""
    theirs, ours = pair(tmp_path, checks.VIT, ("Marian", {"decoder_vocab_size": 23}))
    assert ours.config.decoder.vocab_size == ours.config.decoder.decoder_vocab_size == 23
    x, y = image(theirs)
    labels = torch.tensor([[8, 9, 10], [22, 7, -100]])
    with torch.no_grad():
        ids = theirs.prepare_decoder_input_ids_from_labels(labels)
        logits = theirs(pixel_values=x, decoder_input_ids=ids).logits
        tokens = theirs.generate(x, max_length=12, do_sample=False)
    out = ours(y, labels=mx.array(labels.numpy()))
    close(out.logits, logits)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert abs(out.loss.item() - loss.item()) < 1e-5
    assert ours.generate(y, max_length=12).tolist() == tokens.tolist()
    ours.save_pretrained(tmp_path / "ours")
    again = hf.VisionEncoderDecoderModel.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        close(out.logits, again(pixel_values=x, labels=labels).logits)


def test_mvp_has_no_prompts(tmp_path):
    """As in transformers, whose decoder alone never makes them."""
    check_pair(tmp_path, checks.VIT, ("Mvp", {"use_prompt": True, "prompt_length": 3}))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("base", [True, False])
def test_folder_of_both_halves(tmp_path, stem, base):
    """The second half of a whole model's own folder, with a head or, in other names, without."""
    config = checks.config_of((stem, {}), checks.DECODER_SIZES)
    config.encoder_attention_heads, config.encoder_ffn_dim = 4, 8
    torch.manual_seed(0)
    family = hf.AutoModel if base else hf.AutoModelForSeq2SeqLM
    theirs = family.from_config(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = DECODERS[config.model_type].from_pretrained(tmp_path)
    memory, ids = checks.memory_of(ours), torch.from_numpy(checks.IDS)
    features = hf.modeling_outputs.BaseModelOutput(torch.from_numpy(np.array(memory)))
    with torch.no_grad():
        expected = theirs(input_ids=ids, encoder_outputs=features, decoder_input_ids=ids)[0]
    if base:
        expected = expected.detach() @ theirs.get_input_embeddings().weight.T
    close(ours(mx.array(checks.IDS), None, memory).logits, expected)


@pytest.mark.parametrize("stem", STEMS)
def test_published_sizes(stem):
    """The defaults are a published model's: as many tensors as theirs, of the same shapes."""
    config = getattr(hf, f"{stem}Config")()
    with torch.device("meta"):
        theirs = hf.AutoModelForCausalLM.from_config(config).state_dict()
    ours = DECODERS[config.model_type](DECODERS[config.model_type].config_class())
    unread = {"lm_head.weight"} | ({STORED} if stem in SINES else set())
    expected = {name: tuple(tensor.shape) for name, tensor in theirs.items() if name not in unread}
    got = {ours.renames.on_disk(name): tensor.shape for name, tensor in parameters(ours).items()}
    assert got == expected


@pytest.mark.parametrize("folder", ["naver-clova-ix__donut-base", "facebook__nougat-base"])
def test_published_configs(shared, folder):
    """Donut's and Nougat's decoder. The short name of the layers is not the decoder's number."""
    path = shared / "configs" / folder / "config.json"
    values = json.loads(path.read_text())["decoder"]
    config = MBartForCausalLM.config_class.from_dict(values)
    assert config.decoder_layers == values["decoder_layers"] < values["num_hidden_layers"]
    assert config.encoder_layers == values["num_hidden_layers"]
    kept = config.to_dict()
    assert all(kept[key] == values[key] for key in values if key != "num_hidden_layers")


@pytest.mark.parametrize("stem", ["Bart", "Blenderbot", "Pegasus"])
def test_the_table_of_positions_ends(stem):
    _, ours = checks.built((stem, {"max_position_embeddings": 7}))
    ours(mx.full((1, 7), 8))
    with pytest.raises(TokenError, match="8 tokens, but the position table ends at 7"):
        ours(mx.full((1, 8), 8))


def test_a_missing_embedding_is_named(tmp_path):
    table = "decoder.model.decoder.embed_tokens.weight"
    with pytest.raises(WeightsError, match=f"1 missing: {table}"):
        checks.check_names(tmp_path, ("Bart", {}), lambda t: {k: t[k] for k in t if k != table})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"d_model": 30}, "d_model is 30; expected a multiple of decoder_attention_heads, 4"),
        ({"pad_token_id": 37}, "pad_token_id is 37; expected an id below vocab_size, 37"),
        ({"decoder_layerdrop": 1.0}, "decoder_layerdrop is 1.0; expected 0 or more and below 1"),
        ({"decoder_layers": 0}, "decoder_layers is 0; expected 1 to"),
    ],
)
def test_configs_that_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        BartConfig.from_dict({**BART, **values})


def test_names_of_fields():
    """Hugging Face's short names; those of the half that is not built are kept, as are its own."""
    values = {"hidden_size": 8, "num_hidden_layers": 5, "initializer_range": 0.1}
    config = PLBartConfig.from_dict({**BART, **values, "encoder_ffn_dim": 9})
    assert (config.d_model, config.decoder_layers, config.encoder_layers) == (8, 3, 5)
    assert config.init_std == config.initializer_range == 0.1
    assert config.to_dict()["encoder_ffn_dim"] == 9
    assert config.to_dict()["encoder_layers"] == 5
