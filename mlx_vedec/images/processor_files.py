"""The files in which a checkpoint says what its image processor is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..checkpoints.config import read_json
from ..checkpoints.hub import part_of
from ..errors import CheckpointError

OWN_FILE, MERGED_FILE = "preprocessor_config.json", "processor_config.json"


def processor_values(folder: Path, *, required: bool = True) -> dict[str, Any]:
    """What a folder's files say of its image processor; an error where they say nothing."""
    place = part_of(folder, ("processor", "image_processor"), (OWN_FILE, MERGED_FILE))
    values = read_if_there(place / MERGED_FILE).get("image_processor") or read_if_there(
        place / OWN_FILE
    )
    if not values and required:
        raise CheckpointError(
            f"{folder} has no {OWN_FILE}, nor has a folder processor in it; give the checkpoint "
            "that the model was trained from: load(…, processor=…), --processor at a command; or, "
            "for a reader of formulas, the name of its image steps: image_steps=…, --image-steps"
        )
    return values


def read_if_there(path: Path) -> dict[str, Any]:
    """A JSON file's object; an empty one where there is no file."""
    return read_json(path) if path.is_file() else {}
