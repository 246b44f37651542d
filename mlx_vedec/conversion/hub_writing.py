"""What is written to the Hugging Face Hub: a repository where there is none, then one commit.

No message says a token, not even where an answer of the Hub repeats it.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ..checkpoints.config import read_json
from ..errors import CheckpointError

TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")
LONGEST = 300  # characters of what the Hub says
LOG_IN = "log in with hf auth login and a token that may write, or set HF_TOKEN to one"
Say = Callable[[str], object]


class Writer:
    """The user's login to the Hub, for writing to one repository.

    private -- make the repository private, if it is new. revision -- the branch to write to, made
    if it is not there. create_pr -- open a pull request instead. say -- is told what is done.
    """

    def __init__(
        self,
        repo: str,
        say: Say,
        *,
        private: bool = False,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> None:
        from huggingface_hub import HfApi, constants, get_token

        if constants.HF_HUB_OFFLINE:
            raise CheckpointError("HF_HUB_OFFLINE forbids to upload: unset it")
        self.repo, self.private, self.revision, self.create_pr = repo, private, revision, create_pr
        self.say = say
        self._token = get_token()
        if not self._token:
            raise CheckpointError(f"not logged in to the Hub: {LOG_IN}")
        self._api = HfApi(token=self._token)

    def prepare(self) -> frozenset[str]:
        """Make the repository and the branch where there are none; the names of the files there."""
        from huggingface_hub import errors

        api, repo = self._api, self.repo
        with self._told():
            try:
                info = api.model_info(repo)
            except errors.RepositoryNotFoundError:
                api.create_repo(repo, private=self.private or None, exist_ok=True)
                self.say(f"made {repo}{', private' if self.private else ''}")
                info = api.model_info(repo)
            if self.private and not info.private:
                raise CheckpointError(
                    f"{repo} is there and public, which an upload does not change; make it "
                    "private on its page, give another name, or leave out private"
                )
            if self.revision:
                try:
                    info = api.model_info(repo, revision=self.revision)
                except errors.RevisionNotFoundError:
                    api.create_branch(repo, branch=self.revision)
        return frozenset(file.rfilename for file in info.siblings or ())

    def model_type(self) -> str | None:
        """The model_type in the repository's config.json; None where it names none."""
        from huggingface_hub import hf_hub_download

        revision, token = self.revision, self._token
        with self._told(), tempfile.TemporaryDirectory() as folder:
            path = hf_hub_download(
                self.repo, "config.json", revision=revision, token=token, cache_dir=folder
            )
            with contextlib.suppress(ValueError):  # of what is not JSON
                return read_json(Path(path)).get("model_type")
        return None

    def commit(self, files: Mapping[str, Path], removed: Iterable[str], message: str) -> str:
        """Write files by their name and remove others; the address of what was written."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations = [
            *(CommitOperationDelete(name, is_folder=False) for name in removed),
            *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
        ]
        with self._told():
            done = self._api.create_commit(
                self.repo,
                operations,
                commit_message=message,
                revision=self.revision,
                create_pr=self.create_pr,
            )
        branch = f"/tree/{self.revision}" if self.revision else ""
        return done.pr_url or f"{self._api.endpoint}/{self.repo}{branch}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Within it, errors and warnings of the Hub's library become ours, without the token."""
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
        """What an error of the Hub's library means for the user, and what to do."""
        from huggingface_hub import errors

        repo = self.repo
        inner = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        status = getattr(getattr(inner, "response", None), "status_code", None)
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{repo} has no revision {self.revision}, and none can be made of it"
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
        """A message of the Hub's on one line, cut short, with every token masked."""
        words = " ".join(str(said).split()) or repr(said)
        assert self._token
        return TOKEN.sub("hf_…", words.replace(self._token, "hf_…"))[:LONGEST]
