"""A stand-in of the Hugging Face Hub on this machine: what a download asks for, and refusals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


def commit_of(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


@dataclass
class Repo:
    """Files by revision. A gated one lets its list be seen, but no file without a login."""

    revisions: dict[str, Files]
    gated: bool = False

    def files(self, revision: str) -> Files | None:
        by_commit = {commit_of(name): files for name, files in self.revisions.items()}
        return self.revisions.get(revision, by_commit.get(revision))


@dataclass
class Hub:
    """Where it listens, what it has, and the files that it was asked to send."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    broken: bool = False


class Handler(BaseHTTPRequestHandler):
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
        owner, name, verb, revision, *path = parts[2:] if about else parts
        repo = self.hub.repos.get(f"{owner}/{name}")
        if repo is None:  # the Hub says so to those who are not logged in
            return self.answer(401, X_Error_Code="RepoNotFound")
        files = repo.files(revision)
        if files is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        if about:
            return self.listing(verb, revision, files)
        if repo.gated and "authorization" not in self.headers:
            return self.answer(401, X_Error_Code="GatedRepo")
        return self.file("/".join(path), revision, files)

    do_HEAD = do_GET

    def listing(self, verb: str, revision: str, files: Files) -> None:
        if verb == "revision":
            body = {"id": "owner/name", "sha": commit_of(revision), "siblings": []}
        else:
            body = [
                {"type": "file", "path": path, "size": len(data), "oid": commit_of(path)}
                for path, data in files.items()
            ]
        self.answer(200, json.dumps(body).encode(), Content_Type="application/json")

    def file(self, path: str, revision: str, files: Files) -> None:
        if path not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if self.command == "GET":
            self.hub.sent.append(path)
        etag = f'"{hashlib.sha1(files[path]).hexdigest()}"'
        return self.answer(200, files[path], ETag=etag, X_Repo_Commit=revision)


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
