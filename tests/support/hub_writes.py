"""The stand-in's other half: repositories made, files taken in, refusals."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from tests.support.hub_server import Hub

LARGE = 10_000  # bytes of a file that goes to the large file storage


class Writes(BaseHTTPRequestHandler):
    """Answers to POST and PUT: what is asked is told from the address alone.

    `hub.refusals` maps such a verb to a status and a body, or to None, which ends the connection.
    """

    hub: Hub

    def do_POST(self):
        self.taken(*self.asked())

    def do_PUT(self):
        self.taken("store", *self.asked()[1:])

    def asked(self) -> tuple[str, str, str]:
        """The verb, the repository and the revision, or what stands in its place."""
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            owner, name, verb, revision = parts[2:]
            return verb, f"{owner}/{name}", revision
        if parts[-1] == "batch":
            return "batch", f"{parts[0]}/{parts[1].removesuffix('.git')}", "main"
        return parts[-1], "", parts[-1]

    def taken(self, verb: str, repo: str, revision: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.chunks()
        self.hub.asked.append(verb)
        if verb in self.hub.refusals:
            refusal = self.hub.refusals[verb]
            if refusal is None:
                self.close_connection = True
                return self.connection.shutdown(socket.SHUT_RDWR)
            return self.reply(refusal[0], refusal[1])
        if verb != "store" and "authorization" not in self.headers:
            return self.reply(401, {"error": "Invalid username or password."})
        return self.reply(*getattr(self, verb.replace("-", "_"))(repo, revision, body))

    def chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def reply(self, status: int, values: object) -> None:
        data = values if isinstance(values, bytes) else json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def create(self, _repo: str, _revision: str, body: bytes) -> tuple[int, object]:
        from tests.support.hub_server import Repo

        values = json.loads(body)
        repo = f"{values['organization']}/{values['name']}"
        if repo in self.hub.repos:
            return 409, {"error": "You already created this model repo"}
        private = values.get("visibility") == "private" or values.get("private") is True
        self.hub.repos[repo] = Repo({"main": {".gitattributes": b""}}, private=private)
        return 200, {"url": f"{self.hub.endpoint}/{repo}"}

    def validate_yaml(self, _repo: str, _revision: str, body: bytes) -> tuple[int, object]:
        return 200, {"errors": [], "warnings": self.hub.warnings}

    def preupload(self, repo: str, revision: str, body: bytes) -> tuple[int, object]:
        if self.hub.repos[repo].files(revision) is None:
            return 404, {"error": "Invalid rev id"}
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return 200, {"files": files}

    def batch(self, _repo: str, _revision: str, body: bytes) -> tuple[int, object]:
        """Where to put each large file; nowhere if it is there."""
        objects = []
        for one in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/store/{one['oid']}"}}
            new = one["oid"] not in self.hub.stored
            objects.append({**one, **({"actions": upload} if new else {})})
        return 200, {"transfer": "basic", "objects": objects}

    def store(self, _repo: str, oid: str, body: bytes) -> tuple[int, object]:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.stored[oid] = body
        return 200, {}

    def commit(self, repo: str, revision: str, body: bytes) -> tuple[int, object]:
        """One commit, which is whole or is not; a pull request leaves the branch as it is."""
        lines = [json.loads(line) for line in body.splitlines()]
        revisions = self.hub.repos[repo].revisions
        files = dict(revisions[revision])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        pull = "create_pr=1" in urlsplit(self.path).query
        revisions["refs/pr/1" if pull else revision] = files
        address = f"{self.hub.endpoint}/{repo}"
        done = {"success": True, "commitOid": "0" * 40, "commitUrl": f"{address}/commit/{'0' * 40}"}
        return 200, {**done, **({"pullRequestUrl": f"{address}/discussions/1"} if pull else {})}

    def branch(self, repo: str, revision: str, _body: bytes) -> tuple[int, object]:
        revisions = self.hub.repos[repo].revisions
        revisions[revision] = dict(revisions["main"])
        return 200, {}
