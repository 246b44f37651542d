"""A fine-tuning as the command line asks for it: model, data and adapters put together."""

from __future__ import annotations

import dataclasses
import warnings
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, OptionError, counted
from .common import say
from .flags import data_options, loading_options, size
from .lora_vocabulary import check_options, other_vocabulary

if TYPE_CHECKING:
    import mlx.core as mx

    from ..data.batches import Batches
    from ..data.samples import Dataset
    from ..measuring.evaluation import Evaluation
    from ..text.vocabularies import Vocabulary
    from ..training.trainer import TrainingResult

SETTINGS = "lora.json"  # in the adapters' folder; `--config` takes it
LIMITS = (  # of options that no dataclass checks
    ("batch_size", 1, 2**20),
    ("max_samples", 1, 2**63),
    ("test_batches", -1, 2**31),
    ("seed", 0, 2**64 - 1),
    ("vocabulary_size", 1, 2**31 - 1),
)
NOT_KEPT = ("config", "train", "test", "resume", "json", "debug")


class Finetuning:
    """One run of the command, in one of the processes that share it; options are complete."""

    def __init__(self, options: dict[str, Any], group: mx.distributed.Group) -> None:
        self.options, self.group = options, group
        self.folder = Path(options["adapter_path"])
        self.added: list[str] = []
        self.brought: list[str] = []  # tokens of the adapters that it begins with
        self.vocabulary: Vocabulary | None = None  # where it is not that of the model
        own = options.get("processor") or options.get("image_steps")
        self.processor_kept = bool(own)  # whether it is saved with adapters
        self.resized = bool(options.get("image_size"))  # whether their size is not their model's

    def say(self, text: str) -> None:
        """Print a line on stderr, in the first process only."""
        if not self.group.rank():
            say(text)

    def prepare(self) -> None:
        """Load the model and the data, with an error for what is wrong with either."""
        import mlx.core as mx

        from ..data.datasets import load_splits
        from ..reading.image_sizes import resize_images
        from ..reading.load import load
        from ..tasks.donut_prompts import added_vocabulary

        options = self.options
        for name, least, most in LIMITS:
            if not least <= options.get(name, least) <= most:
                raise OptionError(
                    f"{name} is {options[name]}; expected {least} or more, to {most:,}"
                )
        check_options(options)
        adapters = None if options.get("train") else self.folder
        how = {**loading_options(options), "adapter_path": adapters}
        self.model, self.processor = load(options.get("model"), **how)
        if options.get("train") and self.start is not None:
            self._restore(self.start)
        if options.get("train") and options.get("image_size"):
            try:
                resize_images(self.model, self.processor, size(options["image_size"]))
            except ArgumentTypeError as error:
                raise OptionError(f"image_size: {error}") from error
        added_vocab = added_vocabulary(self.processor.required_tokenizer)
        with _told_warnings(self.say):
            splits = load_splits(
                options["data"],
                added_vocab=added_vocab,
                normal_form=options.get("normal_form"),
                **data_options(options),
            )
        self.splits = self._checked(splits)
        mx.random.seed(options["seed"])

    @property
    def start(self) -> Path | None:
        """The folder of --resume-adapter-file."""
        path = self.options.get("resume_adapter_file")
        return None if path is None else Path(path).parent if Path(path).is_file() else Path(path)

    def _restore(self, folder: Path) -> None:
        """Take the tokens, image size and image processor that adapters to begin with came with."""
        from ..reading.image_sizes import match_images, restore_images
        from ..reading.new_tokens import restore_added
        from ..reading.vocabularies import restore_vocabulary

        self.vocabulary = restore_vocabulary(self.model, self.processor, folder)
        self.brought = restore_added(self.model, self.processor, folder)
        read, resized = restore_images(self.model, self.processor, folder)
        match_images(self.model, self.processor)
        self.processor_kept |= read
        self.resized |= resized

    def _checked(self, splits: dict[str, Dataset]) -> dict[str, Dataset]:
        for name in ("train", "test"):
            if self.options.get(name) and name not in splits:
                raise DataError(
                    f"{self.options['data']} has no split {name}, but {', '.join(splits)}; "
                    f"expected {name}.jsonl, .tsv or .csv, or a folder {name}"
                )
        splits["train"] = splits.get("train", [])[: self.options.get("max_samples")]  # pyright: ignore
        return splits

    # training

    def train(self) -> TrainingResult:
        """Train, and write adapters into the folder as they become better."""
        from ..training.arguments import TrainingArguments
        from ..training.trainer import train

        options = dict(self.options)
        if options.get("max_grad_norm") == 0:
            options["max_grad_norm"] = None
        arguments = options_of(TrainingArguments, options)
        rows = self.model.config.decoder.vocab_size
        self._add_tokens()
        with _told_warnings(self.say):
            self._change_vocabulary(rows)
            batches, valid = self._batches()
        self._adapt()
        self.say(batches.describe())
        if valid is None:
            self.say("there is no split valid: the last weights are kept, not the best")
        if not self.group.rank():
            self._keep_options()
        return train(
            self.model,
            batches,
            arguments,
            valid=valid,
            processor=self.processor,
            folder=self.folder,
            save=self._save,
            resume=bool(options.get("resume")),
            callbacks=self._callbacks(),
            group=self.group,
        )

    def _callbacks(self) -> list[object]:
        """What reports the training: all of it in the first process, whose errors are all's."""
        from ..measuring.processes import from_first
        from ..training.callbacks import LossTable, MetricsPicture
        from ..training.trackers import trackers

        options, found = self.options, list[object]()
        resume = bool(options.get("resume"))

        def make() -> None:
            found.append(LossTable())
            if find_spec("matplotlib"):
                found.append(MetricsPicture(self.folder))
            else:
                self.say("no metrics.png without matplotlib (pip install 'mlx-vedec[plot]')")
            names = options.get("report_to") or ()
            found.extend(trackers(names, self.folder, self._kept_options(), resume=resume))

        from_first(make, self.group)
        return found

    def _add_tokens(self) -> None:
        """Add Donut's tags that the tokenizer lacks with --add-tokens; else an error names them."""
        from ..data.dataset_checks import missing_tokens
        from ..reading.new_tokens import add_tokens

        used = (self.splits[name] for name in ("train", "valid") if name in self.splits)
        missing = missing_tokens((sample for split in used for sample in split), self.processor)
        if missing and not self.options.get("add_tokens"):
            raise DataError(
                f"{len(missing)} tags of the data are no tokens yet: {' '.join(missing)}; give "
                "--add-tokens, which adds them and trains the embedding"
            )
        if missing:
            self.say(f"added {counted(len(missing), 'token')}: {' '.join(missing)}")
            add_tokens(self.model, self.processor, missing)
        self.added = missing

    def _change_vocabulary(self, rows: int) -> None:
        """Learn or shrink the vocabulary, if it is asked for, from the texts of train.

        rows -- how many tokens the model had before any were added
        """
        from ..reading.vocabularies import check_same

        before = len(self.processor.required_tokenizer)
        made = other_vocabulary(self.model, self.processor, self.splits["train"], self.options)
        if made is None:
            return
        self.vocabulary = made.for_rows(rows)
        if self.options.get("resume"):
            check_same(self.vocabulary, self.folder)
        count, new = len(self.vocabulary.sources), self.vocabulary.new
        self.say(f"vocabulary: {count:,} tokens, {new:,} of them new, in place of {before:,}")

    def _batches(self) -> tuple[Batches, Batches | None]:
        """The batches to train on and to validate on; one error for what is wrong with both."""
        from ..data.augmentation import parse_augment
        from ..data.batches import Batches

        options, found, errors = self.options, {}, []
        changes = ",".join(options.get("augment") or ())
        shared: dict[str, Any] = {
            "batch_size": options["batch_size"],
            "mask_prompt": bool(options.get("mask_prompt")),
            "rank": self.group.rank(),
            "world": self.group.size(),
        }
        settings: dict[str, dict[str, Any]] = {
            "train": {
                "seed": options["seed"],
                "augment": parse_augment(changes) if changes else None,
            },
            "valid": {"shuffle": False},
        }
        for split, own in settings.items():
            rows = self.splits.get(split, ())
            try:
                if len(rows):
                    found[split] = Batches(rows, self.model, self.processor, **shared, **own)
            except DataError as error:
                errors.append(f"{split}: {error}")
        if errors:
            raise DataError("; ".join(errors))
        return found["train"], found.get("valid")

    def _adapt(self) -> None:
        """Put adapters on the model: new ones, or those of --resume-adapter-file."""
        from ..adapters.wrapping import LoraConfig, add_adapters, load_adapters
        from ..reading.new_tokens import tables

        if self.start is None:
            config = options_of(LoraConfig, self.options)
            if self.added or self.options.get("new_vocabulary"):
                modules = (*config.train_modules, *tables(self.model))
                config = dataclasses.replace(config, train_modules=modules)
            return add_adapters(self.model, config)
        own = [f.name for f in dataclasses.fields(LoraConfig) if f.name in self.options]
        if own or self.added:
            raise OptionError(
                f"--resume-adapter-file brings adapters that are as they are; leave out "
                f"{', '.join(own) or '--add-tokens'}"
            )
        return load_adapters(self.model, self.start)

    def _keep_options(self) -> None:
        from ..files import make_folder, write_json
        from ..reading.vocabularies import save_vocabulary

        make_folder(self.folder)
        write_json(self.folder / SETTINGS, self._kept_options())
        save_vocabulary(self.vocabulary, self.folder)

    def _kept_options(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name not in NOT_KEPT}

    def _save(self, folder: Path) -> None:
        from ..adapters.wrapping import save_adapters
        from ..reading.image_sizes import save_images

        save_adapters(self.model, folder)
        self._save_tokens(folder)
        if self.resized or self.processor_kept:
            save_images(self.model, self.processor, folder, resized=self.resized)

    def _save_tokens(self, folder: Path) -> None:
        """Write the vocabulary, or the tokens added to that of the model, if it is another one."""
        from ..reading.new_tokens import save_added
        from ..reading.vocabularies import save_vocabulary

        save_vocabulary(self.vocabulary, folder)
        if self.vocabulary is None:
            save_added(self.processor, [*self.brought, *self.added], folder)

    def test(self) -> Evaluation:
        """Evaluate the trained model on the split test."""
        from ..measuring.evaluation import evaluate

        options = self.options
        limit = options["test_batches"] * options["batch_size"]
        samples = self.splits["test"]
        return evaluate(
            self.model,
            self.processor,
            samples if limit < 0 else samples[:limit],
            batch_size=options["batch_size"],
            group=self.group,
        )


def options_of(kind: Any, options: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `kind` with the options that are its fields."""
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: options[name] for name in names if name in options})


@contextmanager
def _told_warnings(say: Callable[[str], object]) -> Iterator[None]:
    """Collect Python's warnings, and print each as a line of the command when the block ends."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    for warning in found:
        say(f"mlx_vedec lora: warning: {warning.message}")
