"""What is written to the Hugging Face Hub: a repository where there is none, then one commit.

No message says a token, not even where an answer of the Hub repeats it.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")
LONGEST = 300  # characters of what the Hub says
LOG_IN = "log in with hf auth login and a token that may write, or set HF_TOKEN to one"
Say = Callable[[str], object]


@dataclass(frozen=True)
class Target:
    """Where to write. private -- if the repository is new; create_pr -- to a pull request."""

    repo: str
    private: bool = False
    revision: str | None = None
    create_pr: bool = False


class Writer:
    """A login, for one repository."""

    def __init__(self, target: Target, say: Say) -> None:
        from huggingface_hub import HfApi, constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise CheckpointError("HF_HUB_OFFLINE forbids to upload: unset it")
        self.target = target
        self.say = say
        self._token = get_token()
        if not self._token:
            raise CheckpointError(f"not logged in to the Hub: {LOG_IN}")
        self._api: HfApi = HfApi(token=self._token)

    def prepare(self) -> frozenset[str]:
        """Make the repository and the branch where there are none; the files that are there."""
        with self._told():
            return self._prepared()

    def model_type(self) -> str | None:
        """What the repository's config.json says of its model; None where it says nothing."""
        from huggingface_hub import hf_hub_download

        from ..checkpoints.config import read_json

        target, token = self.target, self._token
        with self._told(), tempfile.TemporaryDirectory() as folder:
            path = hf_hub_download(
                target.repo, "config.json", revision=target.revision, token=token, cache_dir=folder
            )
            with contextlib.suppress(ValueError):  # of what is not JSON
                return read_json(Path(path)).get("model_type")
        return None

    def commit(self, files: Mapping[str, Path], removed: Iterable[str], message: str) -> str:
        """Write files by their name and remove others; the address of what was written."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        target = self.target
        operations = [
            *(CommitOperationDelete(name, is_folder=False) for name in removed),
            *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
        ]
        with self._told():
            done = self._api.create_commit(
                target.repo,
                operations,
                commit_message=message,
                revision=target.revision,
                create_pr=target.create_pr,
            )
        address = f"{self._api.endpoint}/{target.repo}"
        branch = f"/tree/{target.revision}" if target.revision else ""
        return done.pr_url or f"{address}{branch}"

    def _prepared(self) -> frozenset[str]:
        from huggingface_hub import errors

        api, target = self._api, self.target
        try:
            info = api.model_info(target.repo)
        except errors.RepositoryNotFoundError:
            api.create_repo(target.repo, private=target.private or None, exist_ok=True)
            self.say(f"made {target.repo}{', private' if target.private else ''}")
            info = api.model_info(target.repo)
        if target.private and not info.private:
            raise CheckpointError(
                f"{target.repo} is there and public, which an upload does not change; make it "
                "private on its page, give another name, or leave out private"
            )
        if target.revision:
            try:
                info = api.model_info(target.repo, revision=target.revision)
            except errors.RevisionNotFoundError:
                api.create_branch(target.repo, branch=target.revision)
        return frozenset(file.rfilename for file in info.siblings or ())

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors and warnings of the Hub's library in our words, and without the token."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except CheckpointError:
                raise
            except Exception as error:  # of requests, httpx or httpx2, as the Hub's library goes
                raise CheckpointError(self._reason(error)) from None
            finally:
                for warning in caught:
                    if issubclass(warning.category, UserWarning):  # others are for programmers
                        self.say(self._clean(warning.message))

    def _reason(self, error: Exception) -> str:
        from huggingface_hub import errors

        repo = self.target.repo
        inner = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        status = getattr(getattr(inner, "response", None), "status_code", None)
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{repo} has no revision {self.target.revision}, and none can be made of it"
        why = self._clean(inner)
        if status == 401:
            return f"the Hub does not accept this login for {repo}: {LOG_IN} ({why})"
        if status in (403, 404):
            return (
                f"this login may not write to {repo}: {LOG_IN}; or upload to a name of your own "
                f"({why})"
            )
        return f"{repo} was not written: {why}; the same upload can be started again"

    def _clean(self, said: object) -> str:
        """On one line, cut short, with no token."""
        words = " ".join(str(said).split()) or repr(said)
        assert self._token
        return TOKEN.sub("hf_…", words.replace(self._token, "hf_…"))[:LONGEST]
