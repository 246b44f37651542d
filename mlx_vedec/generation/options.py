"""What one generation goes by: every option, declared once.

From a field here come the check of its values, its flag on the command line with the help, its
place in `GenerationConfig` and its line in the documentation of `Options`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import OptionError
from .lengths import Lengths
from .values import (
    BIASES,
    CONFIG,
    DECAY,
    EARLY,
    EXPONENT,
    FUNCTION,
    FUNCTIONS,
    ID,
    IDS,
    POSITIVE,
    REPETITION,
    SEED,
    START,
    TEMP,
    TEMPERATURE,
    TEXTS,
    TOKENIZER,
    TRUTH,
    WORDS,
    Option,
    at_least,
    one_of,
    option,
    probability,
)

if TYPE_CHECKING:
    import mlx.core as mx

LogitsProcessor: TypeAlias = "Callable[[mx.array, mx.array], mx.array]"
Criterion: TypeAlias = "Callable[[mx.array, Any], Any]"
draws = partial(option, draws=True)


@dataclass(frozen=True)
class Options:
    """Settled options, under transformers' names; mlx-lm's where transformers has none.

    max_length, min_length and prompt_length count the tokens of a row. They are those for one
    prompt: `after` has them for another, by what `lengths` says.
    """

    max_length: int
    eos_token_ids: tuple[int, ...] = option(
        IDS, "Ids after any of which a row ends.", MISSING, name="eos_token_id"
    )
    pad_token_id: int = option(
        ID, "The id that fills a row after its end.", MISSING, unset="an end token"
    )
    prompt_length: int = 1
    min_length: int = 0
    lengths: Lengths | None = field(default=None, compare=False, repr=False)
    decoder_start_token_id: int | tuple[int, ...] | None = option(
        START, "The id that every row begins with, or one for each image."
    )
    bos_token_id: int | tuple[int, ...] | None = option(
        START, "The id that every row begins with, where decoder_start_token_id is not set."
    )

    max_time: float | None = option(POSITIVE, "Seconds after which no token is begun.")
    stop_strings: tuple[str, ...] = option(
        TEXTS, "Texts that end a row when one comes after its prompt; they need a tokenizer.", ()
    )
    stop_on_repetition: tuple[str, ...] = option(
        REPETITION,
        'End rows that run in circles: "variance", "ngram" or both (`generation/repetition.py`).',
        (),
    )
    stopping_criteria: tuple[Criterion, ...] = option(
        FUNCTIONS,
        "Functions of (tokens (N, T), scores of the step) to bool (N,), or one for all rows; with "
        "beams N counts candidates.",
        (),
    )

    num_beams: int = option(
        at_least(1), "Beams of each image; more than 1 is transformers' beam search.", 1, flag=True
    )
    num_return_sequences: int = option(
        at_least(1), "Sequences returned for each image, best first.", 1
    )
    early_stopping: bool | str = option(
        EARLY,
        "End an image's search when it has as many finished beams as beams (True), when no running "
        'beam is likely to beat them (False), or when none can ("never").',
        False,
    )
    length_penalty: float = option(
        EXPONENT, "A finished beam's score is its log-probability / length ** length_penalty.", 1.0
    )

    do_sample: bool = option(TRUTH, "Draw tokens, instead of taking the likeliest.", False)
    seed: int | None = option(
        SEED,
        "What the draws of each image depend on, whatever else is in its batch.",
        unset="MLX's own state, which mx.random.seed sets",
    )
    temperature: float = draws(TEMPERATURE, "Divide scores by this before tokens are drawn.", 1.0)
    top_k: int = draws(
        at_least(0), "Draw from this many of the likeliest tokens; 0 is all.", 50, flag=True
    )
    top_p: float = draws(
        probability(),
        "Draw from the likeliest tokens of this probability together.",
        1.0,
        flag=True,
    )
    min_p: float | None = draws(
        probability(),
        "Draw from tokens at least this many times as likely as the likeliest.",
        unset="from all",
        flag=True,
    )
    typical_p: float = draws(
        probability(above=0),
        "Draw from tokens of about the expected surprise that have this probability between them.",
        1.0,
    )
    epsilon_cutoff: float = draws(
        probability(below=1), "Draw from tokens of at least this probability.", 0.0
    )
    eta_cutoff: float = draws(
        probability(below=1),
        "As epsilon_cutoff, at a lower bound where many tokens are likely.",
        0.0,
    )
    sampler: Callable[[mx.array], mx.array] | None = option(
        FUNCTION, "A function of log-probabilities (N, V) to ids (N,) that draws instead."
    )
    renormalize_logits: bool = option(
        TRUTH, "Make the scores log-probabilities again after the other rules.", False
    )

    repetition_penalty: float = option(
        POSITIVE, "Above 1, make ids that a row has less likely (arXiv:1909.05858).", 1.0
    )
    no_repeat_ngram_size: int = option(
        at_least(0), "Size of n-grams that may not come twice in a row of tokens; 0 lets them.", 0
    )
    bad_words_ids: tuple[tuple[int, ...], ...] = option(
        WORDS, "Sequences of ids that do not come.", ()
    )
    suppress_tokens: tuple[int, ...] = option(IDS, "Ids that do not come.", ())
    begin_suppress_tokens: tuple[int, ...] = option(IDS, "Ids that do not come first.", ())
    sequence_bias: tuple[tuple[tuple[int, ...], float], ...] = option(
        BIASES,
        "Sequences of ids, each with what is added to the logit of its last.",
        (),
        alias="logit_bias",
    )
    exponential_decay_length_penalty: tuple[int, float] | None = option(
        DECAY, "(start, factor): ends become likelier after so many tokens."
    )
    forced_bos_token_id: int | None = option(ID, "The second id of a row, whatever the model says.")
    forced_eos_token_ids: tuple[int, ...] = option(
        IDS, "Ids that a row of the greatest length ends with.", (), name="forced_eos_token_id"
    )
    prefix_allowed_tokens_fn: Callable[[int, mx.array], Sequence[int]] | None = option(
        FUNCTION, "A function of (image, tokens (T,)) to the ids that may follow."
    )
    remove_invalid_values: bool = option(TRUTH, "Replace logits that are not finite.", False)
    logits_processor: tuple[LogitsProcessor, ...] = option(
        FUNCTIONS, "Functions of (tokens (N, T), scores (N, V)) to scores, after all rules.", ()
    )
    logits_processors: tuple[LogitsProcessor, ...] = option(
        FUNCTIONS,
        "As logits_processor, in mlx-lm's shapes for each row: tokens (T,), logits (1, V).",
        (),
    )

    max_kv_size: int | None = option(
        at_least(2),
        "Tokens that each row remembers, its prompt always among them.",
        unset="all",
        flag=True,
    )
    kv_bits: int | None = option(
        one_of(2, 3, 4, 5, 6, 8),
        "Quantize keys and values, also the image's, to this many bits.",
        unset="not at all",
        flag=True,
    )
    kv_group_size: int | None = option(
        one_of(32, 64, 128),
        "Quantize keys and values in groups of 32, 64 or 128 numbers.",
        unset="of 64, or of 32 where 64 does not divide a head",
        flag=True,
    )
    compile: bool | None = option(
        TRUTH,
        "Compile each step of decoding, which does not change the text.",
        unset="on a GPU; on a CPU when a model has taken many steps and g++ is there",
        flag=True,
    )
    tokenizer: Any = option(TOKENIZER, "What makes texts of ids, for stop_strings.")

    @property
    def sequences_per_image(self) -> int:
        """Rows that are decoded for each image."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    def after(self, prompt_length: int) -> Options:
        """The same options for rows that begin with so many tokens."""
        if self.lengths is None:
            return replace(self, prompt_length=prompt_length)
        greatest, least = self.lengths.after(prompt_length)
        if self.max_kv_size is not None and self.max_kv_size <= prompt_length:
            raise OptionError(
                f"max_kv_size={self.max_kv_size} has no room beside the prompt's {prompt_length} "
                "tokens, which are kept; raise it"
            )
        return replace(self, max_length=greatest, min_length=least, prompt_length=prompt_length)

    def changed(self) -> dict[str, Any]:
        """The options that have no default or another value than it, to be printed."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self) if f.compare}
        del values["tokenizer"]
        return {name: value for name, (value, default) in values.items() if value != default}


def _declared(kind: Any) -> dict[str, Option]:
    """The options that are fields of a dataclass, by the name that a call has for each."""
    found = {f: f.metadata["option"] for f in fields(kind) if "option" in f.metadata}
    return {
        said.name or f.name: said._replace(type=f.type, settled=f.name) for f, said in found.items()
    }


# Every option by its name in a call; the last two become others when options are settled.
OPTIONS: dict[str, Option] = {
    **_declared(Lengths),
    **_declared(Options),
    "temp": Option(
        TEMP,
        "Draw tokens at this temperature; 0 takes the likeliest.",
        unset="0",
        type="float | None",
        flag=True,
    ),
    "generation_config": Option(CONFIG, "What is in force where the call says nothing."),
}
Options.__doc__ = f"{(Options.__doc__ or '').rstrip()}\n\n" + "\n".join(
    f"    {said.settled or name} -- {said.help}{said.unset and f' Unset: {said.unset}.'}"
    for name, said in OPTIONS.items()
)


def start_token(options: Any) -> int | tuple[int, ...] | None:
    """What every prompt starts with by `Options` or a `GenerationConfig`."""
    for value in (options.decoder_start_token_id, options.bos_token_id):
        if value is not None:
            return START.form(value)
    return None


IN_PYTHON = (  # options that are Python functions, or ask one
    *("logits_processor", "logits_processors", "prefix_allowed_tokens_fn", "sampler"),
    *("stopping_criteria", "stop_strings"),
)


def functions_of(options: Options) -> list[str]:
    """The options in force that are asked in Python at every step, which nothing compiles."""
    changed = options.changed()
    return [name for name in IN_PYTHON if name in changed]
