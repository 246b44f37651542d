"""Every published config: its folder as on the Hub, read as it is, against transformers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import mlx.core as mx  # noqa: E402
from PIL import Image  # noqa: E402

from mlx_vedec import generate, load  # noqa: E402
from mlx_vedec.measuring.inspection import inspect  # noqa: E402
from tests.conftest import SHARED  # noqa: E402
from tests.parity.hub_folders import write  # noqa: E402
from tests.parity.reference import close  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the files of the checkpoint differ")
FOLDERS = sorted(path.name for path in (SHARED / "configs").glob("*/"))
# Checkpoints of one kind differ by their sizes: of most, one is enough for the fast run.
SOME = [
    pytest.param(name, marks=pytest.mark.slow)
    if "__trocr-" in name and "finetuned" not in name or name.endswith(("-base", "cord-v2"))
    else name
    for name in FOLDERS
]


@pytest.fixture(scope="module")
def picture():
    values = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    return Image.fromarray(values).resize((400, 300))


def their_pixels(folder, picture, channels):
    """Channels first, by transformers' Pillow backend."""
    if channels == 1:
        values = np.asarray(picture.convert("L").resize((448, 448), 2), np.float64)[None, None]
        return torch.from_numpy(((values / 255).astype(np.float32) - 0.5) / 0.5)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    return processor(picture, return_tensors="pt").pixel_values


def their_text(folder, name, ids, processor):
    """By the class that the folder names; manga-ocr's needs a dictionary that is not here, and the
    reading of a SentencePiece file a package: `test_tokenizers.py` compares what was read."""
    if name.startswith("kha-white"):
        tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False)
    elif name.startswith(("naver", "facebook")):
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json")
        )
    elif (folder / "sentencepiece.bpe.model").exists():
        processor.tokenizer.save_pretrained(folder / "again")
        tokenizer = transformers.XLMRobertaTokenizer.from_pretrained(folder / "again")
    elif "gpt2" in name or name.startswith("ankur"):
        tokenizer = transformers.GPT2Tokenizer.from_pretrained(folder)
    else:
        tokenizer = transformers.RobertaTokenizer.from_pretrained(folder)
    return tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("name", SOME)
def test_folder(shared, name, tmp_path, picture):
    torch.set_num_threads(1)
    theirs = write(shared / "configs" / name, tmp_path, shared / "tokenizers")
    model, processor = load(tmp_path)
    found = inspect(tmp_path)
    assert found.loads and sum(found.parameters.values()) < theirs.num_parameters() + 1
    assert any("attn.masked_bias" in name for name in found.tensors["ignored"]) == (
        theirs.config.decoder.model_type == "gpt2"
    )
    channels = theirs.config.encoder.num_channels
    x = their_pixels(tmp_path, picture, channels)
    y = processor(picture).pixel_values
    np.testing.assert_array_equal(np.array(y).transpose(0, 3, 1, 2), x.numpy())

    ids = np.array([[2, 11, 7, 300, 12]])
    with torch.no_grad():
        expected = theirs(pixel_values=x, decoder_input_ids=torch.from_numpy(ids))
    close(model(y, mx.array(ids)).logits, expected.logits)

    options = {"max_new_tokens": 8, "min_new_tokens": 4}
    config = transformers.GenerationConfig.from_model_config(theirs.config)
    if (tmp_path / "generation_config.json").exists():
        config = transformers.GenerationConfig.from_pretrained(tmp_path)
    config.max_length = None
    with torch.no_grad():
        tokens = theirs.generate(x, generation_config=config, **options)[0].tolist()
    result = generate(model, processor, picture, **options)
    start = result.prompt_tokens
    assert list(result.tokens) == tokens[start : start + len(result.tokens)]
    text = processor.decode(result.tokens, skip_special_tokens=True)
    assert text == their_text(tmp_path, name, result.tokens, processor)
    assert result.text == processor.read([], result.tokens).text
