"""Whatever is paired with whatever: every encoder with three decoders, and the reverse with two."""

import pytest

from tests.parity.reference import DECODER_SIZES, ENCODER_SIZES, check_pair

ENCODERS, DECODERS = list(ENCODER_SIZES), list(DECODER_SIZES)
PAIRS = {
    (encoder, DECODERS[(start + step) % len(DECODERS)])
    for start, encoder in enumerate(ENCODERS)
    for step in (1, 9, 14)
} | {
    (ENCODERS[(start + step) % len(ENCODERS)], decoder)
    for start, decoder in enumerate(DECODERS)
    for step in (4, 8)
}


@pytest.mark.parametrize(("encoder", "decoder"), sorted(PAIRS))
def test_pair(tmp_path, encoder, decoder):
    check_pair(tmp_path, (encoder, {}), (decoder, {}))
