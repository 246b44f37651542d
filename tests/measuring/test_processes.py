"""What processes tell each other; groups of several are tried in `training`."""

from __future__ import annotations

import pytest

from mlx_vedec.errors import ProcessError
from mlx_vedec.measuring.processes import gather, together


class Two:
    """A group that has lost its other process."""

    def rank(self) -> int:
        return 1

    def size(self) -> int:
        return 2


@pytest.mark.parametrize("said", ["[ring] connection to a peer was lost", "NCCL error: remote"])
def test_a_lost_process_is_our_error(said):
    with pytest.raises(ProcessError, match="process 1 of 2 has lost another one"), together(Two()):
        raise RuntimeError(said)


@pytest.mark.parametrize("group", [Two(), None])
def test_other_errors_pass(group):
    with pytest.raises(RuntimeError, match="out of memory"), together(group):
        raise RuntimeError("out of memory")


def test_one_process_hears_itself():
    assert gather({"a": 1}, None) == [{"a": 1}]
