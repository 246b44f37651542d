"""Position ids that a call gives, and the gradients of padding's rows, against transformers."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_vedec.errors import TokenError
from tests.parity.reference import DECODER_SIZES, close, image, pair, torch

IDS = np.array([[2, 8, 1, 10, 11], [2, 7, 6, 1, 1]])  # with padding
NO_IDS = ("TrOCR", "Bart", "PLBart", "Mvp", "MBart", "Blenderbot", "BlenderbotSmall", "Pegasus")
NO_IDS = (*NO_IDS, "Marian", "BigBirdPegasus")  # decoders that take no position_ids in transformers


@pytest.mark.parametrize("stem", [stem for stem in DECODER_SIZES if stem not in NO_IDS])
def test_position_ids_are_numbered_as_in_transformers(tmp_path, stem):
    theirs, ours = pair(tmp_path, decoder=(stem, {}))
    (x, y), places = image(theirs), np.array([[5, 3, 8, 0, 2], [1, 1, 4, 9, 17]])
    with torch.no_grad():
        given = {"decoder_position_ids": torch.from_numpy(places)}
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(IDS), **given).logits
    tokens = {"decoder_input_ids": mx.array(IDS)}
    close(ours(y, **tokens, decoder_position_ids=mx.array(places)).logits, expected)
    close(ours(y, **tokens, decoder_position_ids=places.tolist()).logits, expected)
    row = ours(y, **tokens, decoder_position_ids=mx.array(places[:1])).logits  # of all rows
    close(row[0], expected[0])


@pytest.mark.parametrize("stem", ["TrOCR", "Pegasus", "XGLM", "Bert", "Roberta", "GPT2"])
@pytest.mark.parametrize("wrong", [-1, 2**31 - 1, 10_000])
def test_position_ids_without_a_row_are_refused(tmp_path, stem, wrong):
    if stem == "XGLM" and wrong == 10_000:  # sines without end
        return
    theirs, ours = pair(tmp_path, decoder=(stem, {}))
    given = {
        "decoder_input_ids": mx.array([[2, 8]]),
        "decoder_position_ids": mx.array([[0, wrong]]),
    }
    with pytest.raises(TokenError, match=f"position_ids have ids .*{wrong}.*expected 0 to"):
        ours(image(theirs, 1)[1], **given)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stem", DECODER_SIZES)
def test_the_rows_of_padding_have_torchs_gradients(tmp_path, stem, tied):
    theirs, ours = pair(tmp_path, decoder=(stem, {"tie_word_embeddings": tied}))
    x, y = image(theirs)
    labels = np.array([[8, 9, 10, 11, 6], [12, 13, -100, -100, -100]])
    out = theirs(
        pixel_values=x, decoder_input_ids=torch.from_numpy(IDS), labels=torch.tensor(labels)
    )
    out.loss.backward()

    def loss(model):
        return model(y, decoder_input_ids=mx.array(IDS), labels=mx.array(labels)).loss

    _, gradients = nn.value_and_grad(ours, loss)(ours)
    own, table = gradients["decoder"], theirs.decoder.get_input_embeddings().weight.grad
    scale = table.abs().max().item()
    close(own["embed_tokens"]["weight"] / scale, table / scale)
    if "weight" in own.get("embed_positions", {}):
        name = next(
            n for n, _ in theirs.decoder.named_parameters() if "position" in n or "wpe" in n
        )
        rows = dict(theirs.decoder.named_parameters())[name].grad
        scale = rows.abs().max().item()
        close(own["embed_positions"]["weight"] / scale, rows / scale)
