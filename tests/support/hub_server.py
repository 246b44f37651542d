"""A stand-in of the Hugging Face Hub on this machine: what a download asks for, and refusals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.support.hub_writes import Writes

Files = dict[str, bytes]
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def commit_of(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Repo:
    """Files by revision. A gated one lets its list be seen, but no file without a login."""

    revisions: dict[str, Files]
    gated: bool = False
    private: bool = False

    def files(self, revision: str) -> Files | None:
        by_commit = {commit_of(name): files for name, files in self.revisions.items()}
        return self.revisions.get(revision, by_commit.get(revision))


@dataclass
class Hub:
    """Where it listens, what it has, the files that it was asked to send, and what it was sent.

    sent -- names of files, with the range of bytes where only a part was asked for
    asked -- verbs of what was written, in order; refusals, warnings -- as of `hub_writes`
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    stored: Files = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    refusals: dict[str, tuple[int, object] | None] = field(default_factory=dict)
    warnings: list[dict[str, str]] = field(default_factory=list)

    def take_the_place(self, monkeypatch, folder: Path) -> None:
        """Have huggingface_hub ask here, logged out, with a cache and a login in this folder."""
        from huggingface_hub import constants

        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)


class Handler(Writes):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if self.hub.broken or len(parts) < 4:
            return self.answer(500 if self.hub.broken else 404)
        about = parts[:2] == ["api", "models"]
        if about and len(parts) == 4:
            parts += ["revision", "main"]
        owner, name, verb, revision, *path = parts[2:] if about else parts
        repo = self.hub.repos.get(f"{owner}/{name}")
        if repo is None:  # the Hub says so to those who are not logged in
            return self.answer(401, X_Error_Code="RepoNotFound")
        files = repo.files(revision)
        if files is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if about:
            return self.listing(verb, revision, files, repo.private)
        if repo.gated and "authorization" not in self.headers:
            return self.answer(401, X_Error_Code="GatedRepo")
        return self.file("/".join(path), revision, files)

    do_HEAD = do_GET

    def listing(self, verb: str, revision: str, files: Files, private: bool) -> None:
        if verb == "revision":
            siblings = [{"rfilename": path} for path in files]
            body = {"id": "owner/name", "sha": commit_of(revision), "siblings": siblings}
            body["private"] = private
        else:
            body = [
                {"type": "file", "path": path, "size": len(data), "oid": commit_of(path)}
                for path, data in files.items()
            ]
        self.answer(200, json.dumps(body).encode(), Content_Type="application/json")

    def file(self, path: str, revision: str, files: Files) -> None:
        if path not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        asked = self.headers.get("range", "")
        if self.command == "GET":
            self.hub.sent.append(f"{path} {asked}".strip())
        etag = f'"{hashlib.sha1(files[path]).hexdigest()}"'
        first, last = RANGE.fullmatch(asked).groups() if asked else (0, len(files[path]))
        part = files[path][int(first) : int(last) + 1]
        return self.answer(206 if asked else 200, part, ETag=etag, X_Repo_Commit=revision)


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """A Hub that answers while the context lasts."""
    hub = Hub()
    handler = type("Handler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
