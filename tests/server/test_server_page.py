"""SERVER.md: its lines for curl and its Python are run, and it names what there is."""

import json
import re
import shutil
import subprocess

import pytest

from mlx_vedec.commands.server import parser
from mlx_vedec.server import limits, pictures
from mlx_vedec.server.chat_fields import AS_OPTIONS, FIELDS
from mlx_vedec.server.limits import Limits
from mlx_vedec.server.read import FIELDS as READ_FIELDS, TYPES
from tests.conftest import ROOT
from tests.server.conftest import TEXT
from tests.support.serving import events_of
from tests.test_readme import PAGES, blocks_of

PAGE = PAGES["mlx_vedec/SERVER.md"]
SHELL = [
    line
    for kind, tag, body in blocks_of(PAGE)
    if (kind, tag.strip()) == ("sh", "")
    for line in body.splitlines()
]
LINES = (ROOT / "examples" / "page.txt").read_text().split("\n")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_lines_for_curl(server):
    """All of them, whose answers tell what they are to."""
    answers = []
    for command in SHELL:
        own = command.replace("http://localhost:8080", server.url).replace("curl ", "curl -sS ")
        if "--json" in own:  # which is curl 7.82's
            own = own.replace("--json @-", "-H 'Content-Type: application/json' --data-binary @-")
        done = subprocess.run(own, shell=True, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0 and not done.stderr, done.stderr
        answers.append(done.stdout)
    line, text, alto, stream, beams, chat, models, health = answers
    assert json.loads(line)["text"] == TEXT
    assert [*filter(None, text.split("\n"))] == [*filter(None, LINES)]
    assert "http://www.loc.gov/standards/alto" in alto and "Harbour" in alto
    assert events_of(stream.encode())[-1]["text"].split("\n") == [*filter(None, LINES)]
    [read] = json.loads(beams)["regions"][0]["lines"]
    assert len(read["alternatives"]) == 3 and len(read["words"]) == 2
    assert json.loads(chat)["choices"][0]["message"]["content"] == TEXT
    assert json.loads(models)["data"][0]["id"] == "bundled" and '"ok"' in health


def test_the_python_of_the_page(server, capsys):
    pytest.importorskip("openai")
    [code] = [body for kind, _, body in blocks_of(PAGE) if kind == "python"]
    exec(compile(code.replace("http://localhost:8080", server.url), "SERVER.md", "exec"), {})
    assert capsys.readouterr().out == f"{TEXT}\n{TEXT}"


def test_it_names_what_there_is():
    for name in {*AS_OPTIONS, *FIELDS, *READ_FIELDS, *TYPES}:
        assert f"`{name}`" in PAGE or f"`{name}:" in PAGE, name
    flags = set(re.findall(r"`(--[a-z-]+)", PAGE))
    known = parser()._option_string_actions
    assert flags - known.keys() <= {"--json", "--split-lines", "--format", "--output"}
    for name in ("max_batch", "max_queue", "max_body", "timeout", "grace"):
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"^\| `{flag}` \| {getattr(Limits(), name):g} ", PAGE, re.MULTILINE), name
    assert f"{limits.CONNECTIONS} connections" in PAGE and f"{limits.IMAGES} images" in PAGE
    for name in pictures.FORMATS:
        assert name.replace("JPEG2000", "JPEG 2000") in " ".join(PAGE.split()), name
