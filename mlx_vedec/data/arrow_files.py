"""Parquet files, and folders that `datasets` saved with `save_to_disk`; both need pyarrow.

An image is a path, bytes, or as `datasets` has it both in one: `{"bytes": …, "path": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..checkpoints.config import read_json
from ..errors import DataError, OptionError
from .listing import DataLayout, Listing, Source, check_regular, in_folders, in_splits, of_ending
from .samples import RowOptions, Sample, columns_of, whole
from .stored import Spool, StoredImage
from .tables import Rows, read_rows

INSTALL = "pip install 'mlx-vedec[parquet]'"
STATE, SPLITS = "state.json", "dataset_dict.json"  # of `datasets`
ROWS = 64  # that are in memory at once
BUFFER = 2**20  # bytes of a column that are read at once
EXTRA = ("prompt",)  # a column that is read where it is there

Keep = Callable[[Any, int], Callable[[], bytes]]  # an array of bytes and a row: what gives these


def _pyarrow() -> SimpleNamespace:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise OptionError(f"reading parquet needs pyarrow, not installed; {INSTALL}") from error
    return SimpleNamespace(arrow=pyarrow, ipc=pyarrow.ipc, parquet=pyarrow.parquet)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[SimpleNamespace]:
    """Within it what pyarrow raises is a `DataError` about this file."""
    found = _pyarrow()
    check_regular(path)
    try:
        yield found
    except DataError:
        raise
    except (found.arrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no whole {kind} file ({str(error)[:200]}); download or save it again"
        ) from error


def read_parquet(paths: Sequence[Path], options: RowOptions) -> list[Sample]:
    """The samples of parquet files; the bytes of images go to a temporary file."""
    spool = Spool()

    def keep(array: Any, row: int) -> Callable[[], bytes]:
        return spool.add(array[row].as_py())

    samples = []
    for path in paths:
        with _opened(path, "parquet") as found:
            file = found.parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
            chosen = _columns(path, file.schema_arrow.names, options)
            batches = file.iter_batches(batch_size=ROWS, columns=chosen)
            samples += read_rows(path, _rows(path, batches, chosen, keep), options)
    return samples


def read_arrow(paths: Sequence[Path], options: RowOptions) -> list[Sample]:
    """The samples of Arrow files, as `datasets` saves them; images stay in these files."""

    def keep(array: Any, row: int) -> Callable[[], bytes]:
        return array[row].as_py

    samples = []
    for path in paths:
        with _opened(path, "Arrow") as found:
            source = found.arrow.memory_map(str(path))
            try:
                stream = found.ipc.open_stream(source)
                batches = iter(stream)
            except found.arrow.ArrowInvalid:
                stream = found.ipc.open_file(source)
                batches = (stream.get_batch(n) for n in range(stream.num_record_batches))
            chosen = _columns(path, stream.schema.names, options)
            samples += read_rows(path, _rows(path, batches, chosen, keep), options)
    return samples


def _columns(path: Path, names: Sequence[str], options: RowOptions) -> list[str]:
    """The columns to read; an error names those that the file has."""
    try:
        chosen = columns_of(names, options)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return [*chosen, *(name for name in EXTRA if name in names and name not in chosen)]


def _rows(path: Path, batches: Iterator[Any], chosen: Sequence[str], keep: Keep) -> Rows:
    number = 0
    for batch in batches:
        batch = batch.select(chosen)
        batch.validate(full=True)  # without it, offsets that lead outside would be followed
        columns = [batch.column(name) for name in chosen]
        places = [f"{path}:{number + row + 1}" for row in range(len(columns[0]))]
        values = [_images(columns[0], places, keep), *(c.to_pylist() for c in columns[1:])]
        for row in zip(*values, strict=True):
            number += 1
            yield number, partial(dict, [*zip(chosen, row, strict=True)])


def _images(column: Any, places: Sequence[str], keep: Keep) -> list[Any]:
    """A column's images: paths, or images whose bytes are read later."""
    kinds = _pyarrow().arrow.types
    bytes_of, paths = column, [None] * len(column)
    if kinds.is_struct(column.type):
        names = [field.name for field in column.type]
        if "bytes" not in names:
            return column.to_pylist()
        bytes_of = column.field("bytes")
        paths = column.field("path").to_pylist() if "path" in names else paths
    if not (kinds.is_binary(bytes_of.type) or kinds.is_large_binary(bytes_of.type)):
        return column.to_pylist()
    missing = bytes_of.is_null().to_pylist()
    return [
        paths[row] if missing[row] else StoredImage(places[row], keep(bytes_of, row))
        for row in range(len(column))
    ]


# What there is in a folder


def _find_parquet(listing: Listing) -> list[Source]:
    paths = [p for place in (listing, *listing.inner("data")) for p in place.ending(".parquet")]
    alone = paths[0] if len(paths) == 1 else None
    parted = in_folders(listing, alone, partial(read_parquet, paths)) if alone else []
    return parted or in_splits(paths, read_parquet)


def _find_saved(listing: Listing) -> list[Source]:
    state = listing.file(STATE)
    if state is None:
        return in_splits(listing.ending(".arrow"), read_arrow)
    return [Source(f"{STATE} of datasets", partial(_read_saved, state))]


def _read_saved(state: Path, options: RowOptions) -> list[Sample]:
    """The samples of a folder of `save_to_disk`."""
    values = read_json(state)
    files = values.get("_data_files")
    parts = files if isinstance(files, list) else []
    named = [part.get("filename") if isinstance(part, dict) else None for part in parts]
    if not named or not all(isinstance(n, str) and Path(n).name == n for n in named):
        raise DataError(f"{state} names no files beside it; save the dataset again")
    if values.get("_indices_data_files") or values.get("_indices_files"):
        raise DataError(
            f"{state} is of a dataset whose rows are chosen by indices; save it again after "
            "flatten_indices()"
        )
    return read_arrow([state.parent / whole(str(name), "file") for name in named], options)


def _near_saved(listing: Listing) -> list[str]:
    if listing.file(SPLITS) is None:
        return []
    splits = read_json(listing.folder / SPLITS).get("splits")
    said = ", ".join(map(str, splits))[:200] if isinstance(splits, list) else "none"
    return [f"{SPLITS} names the splits {said}; expected folders of train, valid or test"]


PARQUET = DataLayout(
    "parquet",
    "parquet files with images, or their paths, and texts: data/train-00000-of-00001.parquet",
    _find_parquet,
    partial(of_ending, ".parquet", read_parquet),
)
SAVED = DataLayout(
    "datasets",
    "a folder that datasets saved with save_to_disk",
    _find_saved,
    partial(of_ending, ".arrow", read_arrow),
    _near_saved,
)
