"""What is answered where a request is not done: OpenAI's JSON of an error, and its status."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ..errors import shown

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
OWN = (Path(__file__).parents[2], Path.home(), Path(tempfile.gettempdir()))


class Refusal(Exception):
    """A request that is not done, with the status and the headers of the answer.

    code -- a word for programs; param -- the field of the request that it is about
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that is answered."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": without_paths(self.message),
                "type": KINDS.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }


def wrong(name: str, value: object, expected: str) -> Refusal:
    """What is answered to a field whose value is not what is expected."""
    return Refusal(400, f"{name} is {shown(value)}; expected {expected}", param=name)


def without_paths(message: str) -> str:
    """A message without the folders of this machine that it names.

    >>> without_paths(f"{os.getcwd()}/models/a.json is damaged")
    'a.json is damaged'
    """
    for folder in sorted({Path.cwd(), *OWN}, key=lambda path: -len(str(path))):
        if folder != Path(folder.anchor):
            message = re.sub(re.escape(str(folder)) + r"(/[^\s/:;,'\")]+)*/?", _name, message)
    return message


def _name(found: re.Match[str]) -> str:
    return os.path.basename(found[0].rstrip("/"))
