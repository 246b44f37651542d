"""Teach a line reader the print of a continent, as the bundled one was taught.

    pip install '.[parity]' -r examples/reader_parts/requirements.txt
    python examples/train_reader.py render FOLDER [--files 27] [--typefaces DIR …]
    python examples/train_reader.py train FOLDER [--lines 800000] [--resume]
    python examples/train_reader.py convert FOLDER --save-path edition2 [--average STATE …]

`render` draws lines (see reader_parts) and the test: 200 lines in twelve languages, in typefaces
that nothing is learned from. `train` starts from the bundled model or that of `--start`, with a
vocabulary of characters, a canvas of 32×768 and 80 positions, and learns with torch in bfloat16: on
a CPU that learns from 2.5 times as many lines in a second as MLX. It can begin while lines are
still drawn, writes a checkpoint every few minutes, and `curve.csv`. `convert` writes the newest
checkpoint as a folder in half precision, which transformers opens too, or the mean of that and of
copies of earlier ones. mlx_vedec/assets/README.md says how the bundled model was made by it.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlx.core as mx
import numpy as np
from reader_parts.batches import Batch, Shard, write_shard
from reader_parts.pictures import lines, pictures
from reader_parts.start import begin
from reader_parts.texts import TESTED
from reader_parts.typefaces import UNSEEN, faces

import mlx_vedec as mv
from mlx_vedec.reading.load import BUNDLED

SHARD = 10_000  # lines in a file
TESTS = 200  # lines of each test
RATE, WARMUP = 1e-3, 0.02
LOOKING = 0.2  # weight of the loss where the decoder looks elsewhere
ASIDE, ASIDE_UNTIL = 0.5, 0.6  # weight of the loss per column, and the share of the training it has


# Drawing


def render(args: argparse.Namespace) -> None:
    """Write the test's lines, then one file of lines after the other."""
    args.folder.mkdir(parents=True, exist_ok=True)
    known = faces(args.typefaces)
    seen = [face for face in known if not face.family.startswith(tuple(UNSEEN))]
    unseen = [face for face in known if face.family in UNSEEN]
    print(f"{len(seen)} faces to learn from, {len(unseen)} for the test", flush=True)
    if not (args.folder / "test").is_dir():
        write_test(args.folder / "test", unseen)
    for number in range(args.files):
        path = args.folder / f"lines_{number:03}.npz"
        if not path.is_file():
            write_shard(path, [*lines(SHARD, seen, [1, number])])
            print(path, flush=True)


def write_test(folder: Path, known: list[Any]) -> None:
    """Pictures of lines in the languages of the test, with a table of their texts."""
    random, rows = np.random.default_rng(0), []
    folder.mkdir()
    for number, picture in zip(range(TESTS), pictures(known, random, TESTED), strict=False):
        name = f"{number:03}.png"
        picture.cropped(random).save(folder / name)
        rows.append(f"{name}\t{picture.text}\t{picture.family}\n")
    (folder / "labels.tsv").write_text("file\ttext\ttypeface\n" + "".join(rows), encoding="utf-8")


# Learning


class Learner:
    """The model in torch, its optimizer, and where in the lines it is."""

    def __init__(self, folder: Path, lines: int) -> None:
        torch: Any = import_module("torch")
        self.torch, self.lines = torch, lines
        torch.manual_seed(0)
        kinds = {"encoder": "sdpa", "decoder": "eager"}
        kind: Any = import_module("transformers").VisionEncoderDecoderModel
        self.model = kind.from_pretrained(folder, attn_implementation=kinds)
        sizes = self.model.config.encoder.hidden_size, self.model.config.decoder.vocab_size
        self.aside = torch.nn.Linear(*sizes)
        self.parameters = [*self.model.parameters(), *self.aside.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True
        )
        self.place = {"seen": 0, "round": 0, "files": 1, "batch": 0, "updates": 0, "seconds": 0.0}

    def features(self, pixels: np.ndarray) -> Any:
        """Pixels (B, H, W) of any canvas up to the whole one to features (B, 1 + W / 8, D)."""
        torch, encoder = self.torch, self.model.encoder
        x = torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1)
        x = encoder.embeddings.patch_embeddings.projection(x).flatten(2).transpose(1, 2)
        positions = encoder.embeddings.position_embeddings
        first = (encoder.embeddings.cls_token + positions[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x + positions[:, 1 : 1 + x.shape[1]]], dim=1)
        for layer in encoder.layers:
            x = layer(x, None)
        return encoder.layernorm(x)

    def loss(self, batch: Batch, weight: float) -> tuple[Any, Any]:
        """The mean loss of the tokens, and with it those of the columns and of where it looks.

        weight -- of the columns
        """
        torch, entropy = self.torch, self.torch.nn.functional.cross_entropy
        with torch.autocast("cpu", torch.bfloat16):
            features = self.features(batch.pixels)
            out = self.model(
                encoder_outputs=(features,),
                decoder_input_ids=torch.from_numpy(batch.inputs),
                output_attentions=True,
                use_cache=False,
            )
            labels = torch.from_numpy(batch.labels).flatten()
            loss = entropy(out.logits.float().flatten(0, 1), labels)
            columns = self.aside(features[:, 1:]).float().flatten(0, 1)
            aside = entropy(columns, torch.from_numpy(batch.columns).flatten())
        looks = self.elsewhere(out.cross_attentions[-1], torch.from_numpy(batch.spans))
        return loss, loss + weight * aside + LOOKING * looks

    def elsewhere(self, attention: Any, spans: Any) -> Any:
        """How little the heads (B, H, L, 1 + W / 8) of a layer look at the columns of a label."""
        columns = self.torch.arange(attention.shape[-1] - 1)
        inside = (columns >= spans[..., :1]) & (columns <= spans[..., 1:])
        share = (attention[..., 1:].float().mean(1) * inside).sum(-1)
        return -share[spans[..., 1] >= 0].clamp(min=1e-4).log().mean()

    def update(self, batch: Batch) -> float:
        """One update by a batch; its loss."""
        start, done = time.monotonic(), self.place["seen"] / self.lines
        rate = RATE * min(1, done / WARMUP + 0.01, 1.002 * (1 + np.cos(np.pi * min(done, 1))) / 2)
        for group in self.optimizer.param_groups:
            group["lr"] = float(rate)
        loss, whole = self.loss(batch, ASIDE * max(0.0, 1 - done / ASIDE_UNTIL))
        whole.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.place["seen"] += len(batch.pixels)
        self.place["updates"] += 1
        self.place["batch"] += 1
        self.place["seconds"] += time.monotonic() - start
        return float(loss.detach())

    def read(self, images: list[np.ndarray]) -> list[list[int]]:
        """The ids that are read greedily in images (H, W)."""
        output: Any = import_module("transformers.modeling_outputs").BaseModelOutput
        found: list[list[int]] = []
        with self.torch.inference_mode():
            for at in range(0, len(images), 50):
                features = self.features(np.stack(images[at : at + 50]))
                outputs = output(last_hidden_state=features)
                found += self.model.generate(encoder_outputs=outputs)[:, 1:].tolist()
        return found

    def save(self, folder: Path) -> None:
        """A checkpoint from which the training goes on, in place of the last one."""
        parts = ("model", "aside", "optimizer")
        state = {name: getattr(self, name).state_dict() for name in parts}
        self.torch.save({**state, "place": self.place}, folder / "state.part")
        (folder / "state.part").rename(folder / "state.pt")

    def load(self, folder: Path) -> None:
        """Go on after the checkpoint."""
        state = self.torch.load(folder / "state.pt")
        for name in ("model", "aside", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.place = state["place"]


class Tests:
    """Labelled lines as the processor prepares them, and how well they are read."""

    def __init__(self, processor: Any, folders: Sequence[Path]) -> None:
        self.processor, self.sets = processor, []
        for folder in folders:
            table = (folder / "labels.tsv").read_text(encoding="utf-8").splitlines()[1:]
            rows = [row.split("\t")[:2] for row in table][:TESTS]
            images = [np.array(processor(images=folder / name).pixel_values)[0] for name, _ in rows]
            self.sets.append(([x[..., 0] for x in images], [text for _, text in rows]))

    def rates(self, learner: Learner) -> list[float]:
        """The character error rate of each set."""
        found = []
        for images, texts in self.sets:
            read = self.processor.batch_decode(learner.read(images), skip_special_tokens=True)
            found.append(mv.character_error_rate(read, texts))
        return found


def train(args: argparse.Namespace) -> None:
    """Learn until so many lines were seen; the curve has a row for each checkpoint."""
    start = args.folder / "start"
    if not start.is_dir():
        begin(start, args.start)
    processor = mv.Processor.from_pretrained(start)
    ids = processor.required_tokenizer.backend.get_vocab()
    learner = Learner(start, args.lines)
    if args.resume:
        learner.load(args.folder)
    tests = Tests(processor, [args.folder / "test", BUNDLED / "lines"])
    losses, saved = [], time.monotonic()
    for batch in batches(args.folder, args.files, learner.place, ids):
        losses.append(learner.update(batch))
        done = learner.place["seen"] >= min(args.lines, args.until or args.lines)
        if done or time.monotonic() - saved > 60 * args.minutes:
            learner.save(args.folder)
            report(args.folder / "curve.csv", learner, float(np.mean(losses)), tests.rates(learner))
            losses, saved = [], time.monotonic()
        if done:
            break


def batches(
    folder: Path, files: int, place: dict[str, Any], ids: dict[str, int]
) -> Iterator[Batch]:
    """The lines of all files, again and again, from a place on, which is moved on.

    While the file whose turn it is is not yet drawn, those that are come again.
    """
    while True:
        there = max(1, sum((folder / f"lines_{n:03}.npz").is_file() for n in range(files)))
        if skipped := place["batch"]:
            there = place["files"]
        place["files"] = there
        shard = Shard.read(folder / f"lines_{place['round'] % there:03}.npz")
        for number, batch in enumerate(shard.batches([2, place["round"]], ids)):
            if number >= skipped:
                yield batch
        place["round"], place["batch"] = place["round"] + 1, 0


def report(path: Path, learner: Learner, loss: float, rates: list[float]) -> None:
    """Add a row to the curve, and print it."""
    new = not path.is_file()
    place = learner.place
    row = [place["updates"], place["seen"], round(place["seconds"]), f"{loss:.4f}"]
    with open(path, "a", newline="") as file:
        table = csv.writer(file)
        if new:
            table.writerow(["updates", "lines", "seconds", "loss", "cer_twelve", "cer_first"])
        table.writerow([*row, *(f"{rate:.4f}" for rate in rates)])
    print(*row, *(f"{rate:.2%}" for rate in rates), flush=True)


def convert(args: argparse.Namespace) -> None:
    """Write the newest checkpoint in half precision, or the mean of it and of others."""
    start = args.folder / "start"
    learner = Learner(start, 0)
    learner.load(args.folder)
    others = [learner.torch.load(path)["model"] for path in args.average]
    states = [learner.model.state_dict(), *others]
    mean = {name: sum(state[name] for state in states) / len(states) for name in states[0]}
    learner.model.load_state_dict(mean)
    with TemporaryDirectory(dir=args.folder) as folder:
        shutil.copytree(start, folder, dirs_exist_ok=True)
        learner.model.save_pretrained(Path(folder) / "torch")
        shutil.move(Path(folder) / "torch" / "model.safetensors", Path(folder, "model.safetensors"))
        shutil.rmtree(Path(folder) / "torch")
        mv.convert(folder, args.save_path, dtype="float16")
    path = str(args.save_path / "model.safetensors")
    loaded: Any = mx.load(path, return_metadata=True)
    weights, said = loaded
    used = {
        name: x for name, x in weights.items() if "pooler" not in name
    }  # no decoder looks there
    mx.eval(used)
    mx.save_safetensors(path, used, said)
    print(f"model: {args.save_path}, after {learner.place['seen']} lines")


def main() -> None:
    """One of the three steps."""
    parser = argparse.ArgumentParser(description="Teach the bundled reader more languages.")
    steps = parser.add_subparsers(required=True)
    for step in (render, train, convert):
        own = steps.add_parser(step.__name__, help=step.__doc__)
        own.add_argument("folder", type=Path)
        own.add_argument("--files", type=int, default=27, help="files of 10,000 lines each")
        own.set_defaults(step=step)
        if step is render:
            own.add_argument("--typefaces", type=Path, nargs="*", default=())
        if step is train:
            own.add_argument("--lines", type=int, default=800_000)
            own.add_argument("--until", type=int, help="stop after so many lines, to go on later")
            own.add_argument("--start", type=Path, default=BUNDLED)
            own.add_argument("--resume", action="store_true")
            own.add_argument("--minutes", type=float, default=5, help="between checkpoints")
        if step is convert:
            own.add_argument("--save-path", type=Path, required=True)
            own.add_argument("--average", type=Path, nargs="*", default=(), metavar="STATE")
    args = parser.parse_args()
    args.step(args)


if __name__ == "__main__":
    main()
