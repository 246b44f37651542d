"""A folder put on the Hugging Face Hub: a model, or an adapter, with its card, in one commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from ..checkpoints import weights
from ..checkpoints.config import read_json
from ..checkpoints.hub import HUB_ID, PICKLES, SAFETENSORS, required
from ..errors import CheckpointError, OptionError, as_path, check_function, check_type
from ..files import near
from ..layers.packed import is_quantized
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from ..reading.processor import Processor
from ..version import __version__
from . import card_text, front_matter, model_card
from .hub_writing import Say, Writer
from .model_card import README, FolderCard, LookUp, Origin, Values

MODEL_TYPE = VisionEncoderDecoderModel.config_class.model_type
SINGLE, INDEX = SAFETENSORS
MEASURED = "verification.json"
MODEL = (
    *("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model", "sentencepiece.model"),
    *("spiece.model", "spm.model", "tokenizer.model", "verification.*"),
)
MODEL_WEIGHTS = (SINGLE, INDEX, "model-*-of-*.safetensors")
ADAPTER = ("adapter_config.json", "verification.*")
ADAPTER_WEIGHTS = ("adapters.safetensors", "adapter_model.safetensors")  # mlx-lm's, PEFT's
ALWAYS = (README, "LICENSE", "LICENSE.*")


@dataclass(frozen=True)
class Upload:
    """What is sent to the Hub: the names of a folder's files with their bytes, README.md included.

    card -- the text that README.md is to have. patterns -- names of a model's or an adapter's
    files; those that the repository has and the folder has not are removed there. notes -- lines to
    tell the user, such as what is left out.
    """

    folder: Path
    files: dict[str, int]
    patterns: tuple[str, ...]
    card: str
    notes: tuple[str, ...]


def upload(
    path: str | Path,
    repo: str,
    *,
    private: bool = False,
    base_model: str | None = None,
    relation: str | None = None,
    license: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    message: str | None = None,
    say: Say | None = None,
) -> str:
    """Put a model's or an adapter's folder on the Hub in one commit; the address of what is there.

    repo -- owner/name; it is made if it is not there, private if asked for. First the folder's
    README.md becomes its model card, and nothing else in the folder is changed; a README.md that
    somebody wrote is kept, and gains the keys that its front matter lacks. Files of a model that
    the repository has and the folder has not are removed there. An upload that failed can be
    started again.

    base_model, relation, license -- what the model was made from, where README.md does not say it;
    see `Origin`. revision -- the branch to write to, made if it is not there. create_pr -- open a
    pull request instead. message -- of the commit. say -- is told what is done, line by line.
    """
    check_function("say", say)
    tell: Say = say or (lambda line: None)
    origin = Origin(base_model, relation, license)
    sent = planned(path, repo, origin, look_up=partial(_base_card, tell))
    for note in sent.notes:
        tell(note)
    writer = Writer(repo, tell, private=private, revision=revision, create_pr=create_pr)
    there = writer.prepare()
    if "config.json" in there and SINGLE in sent.patterns:
        found = writer.model_type()
        if found != MODEL_TYPE:
            raise CheckpointError(
                f"{repo} holds a model of type {found}, not {MODEL_TYPE}; give another name"
            )
    removed = sorted(n for n in there - sent.files.keys() if _matches(n, sent.patterns))
    if removed:
        tell(f"removed from {repo}, as the folder has none: {', '.join(removed)}")
    model_card.write(sent.folder, sent.card)
    files = {name: sent.folder / name for name in sent.files}
    return writer.commit(files, removed, message or f"Upload with mlx_vedec {__version__}")


def planned(
    path: str | Path, repo: str, origin: Origin | None = None, *, look_up: LookUp | None = None
) -> Upload:
    """What `upload` would send, found without a network; the folder has to be one that loads.

    look_up -- gives the front matter of a base model by its id and commit, to learn its licence.
    """
    _check_id(repo)
    folder = as_path(path, "path")
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is not a folder; expected a model's, as convert writes it; {near(folder)}"
        )
    card = FolderCard.read(folder)
    adapter = (folder / ADAPTER[0]).is_file() and not (folder / "config.json").is_file()
    fill = _adapter_card if adapter else _model_card
    values, content = fill(folder, repo, card, origin or Origin(), look_up)
    patterns = ADAPTER if adapter else MODEL
    names = {path.name for path in folder.iterdir() if path.is_file()}
    sent = {name for name in names if _matches(name, (*patterns, *ALWAYS))}
    sent |= _weights(folder, adapter)
    sizes = {name: (folder / name).stat().st_size for name in sorted(sent)}
    left_out = sorted({path.name for path in folder.iterdir()} - sent)
    return Upload(
        folder,
        {**sizes, README: len(content.encode())},
        (*patterns, *(ADAPTER_WEIGHTS if adapter else MODEL_WEIGHTS)),
        content,
        tuple(_notes(card, values, left_out)),
    )


def _check_id(repo: str) -> None:
    from huggingface_hub.utils import validate_repo_id

    check_type("repo", repo, str, "owner/name")
    try:
        validate_repo_id(repo)
        fits = HUB_ID.fullmatch(repo) is not None
    except ValueError:
        fits = False
    if not fits:
        raise OptionError(f"{repo!r} is no name for a repository; expected owner/name")


def _model_card(
    folder: Path, repo: str, card: FolderCard, origin: Origin, look_up: LookUp | None
) -> tuple[Values, str]:
    """Front matter and text of the card of a model's folder; the weights are not read for it."""
    required(folder, "config.json")
    if not any((folder / name).is_file() for name in SAFETENSORS):
        found = [name for name in PICKLES if (folder / name).is_file()]
        if found:
            raise CheckpointError(
                f"{folder} has its weights as pickles, {found[0]}, which are not uploaded; "
                "mlx_vedec convert makes safetensors of them"
            )
    model = VisionEncoderDecoderModel.from_folder(folder)
    Processor.from_pretrained(folder)
    relation = "quantized" if is_quantized(model) else "finetune"
    tags = ("ocr",) if model.config.decoder.model_type == "trocr" else ()
    values = model_card.completed(card, origin, relation, tags, look_up)
    text = card_text.text(repo, model, values, _measured(folder))
    return values, model_card.page(card, values, text)


def _adapter_card(
    folder: Path, repo: str, card: FolderCard, origin: Origin, look_up: LookUp | None
) -> tuple[Values, str]:
    """Front matter and text of the card of a folder that holds an adapter alone."""
    required(folder, *(n for n in ADAPTER_WEIGHTS if (folder / n).is_file()), *ADAPTER_WEIGHTS)
    config = read_json(folder / ADAPTER[0])
    base = config.get("base_model_name_or_path") or config.get("model")
    own = isinstance(base, str) and HUB_ID.fullmatch(base) and not Path(base).is_dir()
    if own and not origin.base_model and "base_model" not in card.values:
        origin = Origin(str(base), origin.relation, origin.license)
    method = str(config.get("fine_tune_type") or config.get("peft_type")).lower()
    tags = (method,) if method in ("lora", "dora") else ()
    values = model_card.completed(card, origin, "adapter", tags, look_up)
    text = card_text.adapter_text(repo, values, _measured(folder))
    return values, model_card.page(card, values, text)


def _measured(folder: Path) -> Any:
    path = folder / MEASURED
    return read_json(path) if path.is_file() else None


def _weights(folder: Path, adapter: bool) -> set[str]:
    """The names of the files of weights that a load of the folder would read."""
    if adapter:
        return {name for name in ADAPTER_WEIGHTS if (folder / name).is_file()}
    read = {path.name for path in weights.files(folder)}
    return read if SINGLE in read else {*read, INDEX}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _notes(card: FolderCard, values: Values, left_out: list[str]) -> Iterator[str]:
    """What the user is told of a folder before it is sent."""
    if left_out:
        yield f"not uploaded: {', '.join(left_out)}"
    added = [key for key in values if key not in card.values]
    if not card.ours and added:
        yield f"{README} is kept; its front matter gains {', '.join(added)}"
    if "base_model" not in values:
        yield "the model's base is not known; give its Hub id as base_model"
    if "license" not in values:
        yield "the model's licence is not known; give it as license"


def _base_card(say: Say, base: str, commit: str | None) -> Values:
    """The front matter of a base model on the Hub; nothing where it cannot be had."""
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(base, README, revision=commit))
        return front_matter.split(path.read_text(encoding="utf-8"))[0]
    except Exception as error:  # of many kinds; an upload does not depend on it
        say(f"the card of {base} was not read ({type(error).__name__})")
        return {}
