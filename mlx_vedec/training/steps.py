"""One update of the weights by the gradients of some batches, summed over all processes.

The weights that are trained are kept in float32 beside the model, which is given them in the types
that it computes in. Arrays are evaluated at the end of a batch or of an update only.

By loss scaling (arXiv:1710.03740) gradients in float16 are neither lost nor infinite. Float16 has
no number below 6e-8, and none above 65,504. The loss is multiplied by a power of two before the
backward pass, and the gradients, which are float32 by then, are divided by it. An update whose
gradients overflowed is left out and the scale halved; after a while without, it doubles.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from ..checkpoints.weights import parameters
from ..data.batches import TrainingBatch
from ..errors import TrainingError
from ..layers.compiled import on_gpu
from ..layers.dropout import Share, drawing_rows
from ..layers.token_ids import token_losses
from ..model.vision_encoder_decoder import VisionEncoderDecoderModel
from .arguments import TrainingArguments
from .optimizers import Tree, make_optimizer

GROWTH = 200  # updates in a row without overflow, after which the scale of the loss doubles
LEAST, MOST = 1.0, 2.0**24  # scales of the loss


@dataclass
class Weights:
    """What an update changes: weights, the optimizer's state, and the average if there is one."""

    trained: Tree
    optimizer: Tree
    average: Tree

    def arrays(self) -> list[mx.array]:
        """All arrays, to be evaluated."""
        flat = tree_flatten([self.trained, self.optimizer, self.average])
        return [array for _, array in flat]  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Outcome:
    """What an update found.

    loss -- the mean over the update's tokens. tokens -- how many count. norm -- of the gradients,
    before they were clipped. finite -- whether loss and norm are
    """

    loss: float
    tokens: int
    norm: float
    finite: bool


class Stepper:
    """Gradients and updates of a model, whose trainable parameters are those it has now."""

    def __init__(
        self,
        model: VisionEncoderDecoderModel,
        arguments: TrainingArguments,
        group: mx.distributed.Group,
    ) -> None:
        self.model, self.arguments, self.group = model, arguments, group
        own = trainable(model)
        _check(own)
        self.types = {name: x.dtype for name, x in own.items()}
        trained = {name: x.astype(mx.float32) for name, x in own.items()}
        if arguments.dtype is not None:
            mx.eval(trained)
            model.astype(arguments.dtype)
        self.computed = {name: x.dtype for name, x in trainable(model).items()}
        self.scaled = needs_scaling(model)
        self.optimizer = make_optimizer(arguments, trained)
        average = {} if arguments.ema is None else {name: x * 1 for name, x in trained.items()}
        self.weights = Weights(trained, self.optimizer.state, average)
        random = mx.random.state
        self._gradients = self._fused(mx.value_and_grad(self._loss), inputs=random, outputs=random)
        self._update = self._fused(self._updated)
        self._compare = self._fused(self._loss)
        mx.eval(self.weights.arrays())

    def _fused(self, function: Callable[..., Any], **captured: Any) -> Callable[..., Any]:
        asked = self.arguments.compile
        wanted = on_gpu() if asked is None else asked
        return mx.compile(function, **captured) if wanted else function

    # a batch

    def _loss(self, trained: Tree, scale: Any, pixels: Any, ids: Any, labels: Any) -> Any:
        """The sum of the tokens' losses times the scale, and how many tokens count; float32."""
        smoothing = self.arguments.label_smoothing if self.model.training else 0.0
        self.place(trained, self.computed)
        out: Any = self.model(pixels, decoder_input_ids=ids, use_cache=False)
        loss, tokens = token_losses(out.logits, labels, smoothing)
        return loss * scale, tokens

    def gradients(
        self, batches: Iterable[TrainingBatch], step: int, scale: mx.array
    ) -> list[mx.array]:
        """Sums over the batches of one update: loss, tokens, then each weight's gradient.

        The loss and the gradients are multiplied by the scale.
        """
        total: list[mx.array] = []
        for number, batch in enumerate(batches):
            mx.random.seed(_seed(self.arguments.seed, step, number))
            share = Share(self.group.rank(), self.group.size(), batch.pixel_values.shape[0])
            with drawing_rows(share):
                values, found = self._gradients(self.weights.trained, scale, *_arrays(batch))
            sums = [*values, *(found[name] for name in self.weights.trained)]
            total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
            if self.arguments.grad_accumulation_steps > 1:
                mx.eval(total)
        assert total, "an update has a batch"
        return total

    def compare(self, batch: TrainingBatch, trained: Tree) -> tuple[mx.array, mx.array]:
        """The sum of a batch's losses, and its tokens, with these weights and in `eval()` mode."""
        return self._compare(trained, mx.array(1.0), *_arrays(batch))

    # an update

    def update(
        self, batches: Iterable[TrainingBatch], step: int, rate: float, scale: float = 1.0
    ) -> Outcome:
        """Change the weights, unless the loss or the gradients are not finite or no label counts.

        scale -- what the loss is multiplied by in the backward pass. Evaluated when this returns.
        """
        factor = mx.array(scale)
        sums: Any = nn.average_gradients(self.gradients(batches, step, factor), self.group)
        old = self.weights
        *trees, figures = self._update(
            old.trained, old.optimizer, old.average, sums, mx.array(rate), factor
        )
        self.weights = Weights(*trees)
        del old, trees, sums  # what they hold can be freed in the evaluation
        self.place(self.weights.trained)
        mx.eval(self.weights.arrays(), figures)
        loss, tokens, norm, finite = figures.tolist()
        return Outcome(loss, round(tokens * self.group.size()), norm, bool(finite))

    def _updated(
        self,
        trained: Tree,
        state: Tree,
        average: Tree,
        sums: list[mx.array],
        rate: mx.array,
        scale: mx.array,
    ) -> tuple[Tree, Tree, Tree, mx.array]:
        loss, tokens, *found = sums
        counted = mx.maximum(tokens, 1 / self.group.size()) * scale
        loss = loss / counted
        gradients = {name: g / counted for name, g in zip(trained, found, strict=True)}
        most = self.arguments.max_grad_norm
        gradients, norm = optim.clip_grad_norm(gradients, math.inf if most is None else most)
        new, after = self.optimizer.updated(state, rate, gradients, trained)
        finite = mx.isfinite(loss) & mx.isfinite(norm)
        good = finite & (tokens > 0)
        new, after = _where(good, new, trained), _where(good, after, state)
        decay = self.arguments.ema
        if decay is not None:
            moved = {name: decay * x + (1 - decay) * new[name] for name, x in average.items()}
            average = _where(good, moved, average)
        return new, after, average, mx.stack([loss, tokens, norm, finite.astype(mx.float32)])

    def place(self, trained: Tree, types: Tree | None = None) -> None:
        """Give the model these weights, in these types if given: `computed`, or its own `types`."""
        if types is not None:
            trained = {name: x.astype(types[name]) for name, x in trained.items()}
        self.model.update(tree_unflatten(list(trained.items())))


def _arrays(batch: TrainingBatch) -> tuple[mx.array, mx.array, mx.array]:
    return batch.pixel_values, batch.decoder_input_ids, batch.labels


def needs_scaling(model: nn.Module) -> bool:
    """Whether a model computes in float16, in part at least."""
    return any(x.dtype == mx.float16 for x in parameters(model).values())


def rescaled(scale: float, fitted: int, finite: bool) -> tuple[float, int]:
    """The scale after an update, and how many updates in a row have fitted it so far.

    fitted -- the same before that update. finite -- whether its gradients were

    >>> rescaled(8.0, 5, finite=False), rescaled(8.0, 5, finite=True)
    ((4.0, 0), (8.0, 6))
    """
    if not finite:
        return max(LEAST, scale / 2), 0
    if fitted + 1 < GROWTH:
        return scale, fitted + 1
    return min(MOST, 2 * scale), 0


def trainable(model: nn.Module) -> Tree:
    """The parameters that are trained, by name."""
    return dict(tree_flatten(model.trainable_parameters()))  # pyright: ignore[reportArgumentType]


def _check(trained: Tree) -> None:
    whole = [n for n, x in trained.items() if not mx.issubdtype(x.dtype, mx.floating)]
    if whole:
        raise TrainingError(
            f"{len(whole)} of the weights to train are quantized, such as {whole[0]}; freeze them "
            "and train adapters, or dequantize the model"
        )
    if not trained:
        raise TrainingError(
            "all weights are frozen; add adapters, or unfreeze what is to be trained"
        )


def _where(condition: mx.array, then: Tree, otherwise: Tree) -> Tree:
    """`then` where the condition holds, else `otherwise`: trees with the same names."""
    return tree_map(lambda b, a: mx.where(condition, a, b), otherwise, then)


def _seed(*numbers: int) -> int:
    """A seed for MLX that depends on these numbers alone, so that a resumed run draws the same."""
    name = " ".join(map(str, numbers)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
