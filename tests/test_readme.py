"""The README's commands are run, and its output is what they print."""

import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mlx_vedec import commands
from mlx_vedec.commands.lora_flags import parser, read_settings
from mlx_vedec.decoders import DECODERS
from mlx_vedec.encoders import ENCODERS
from mlx_vedec.generation.options import OPTIONS, Options
from tests.conftest import ROOT
from tests.test_layout import FLOORS, PACKAGE

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "mlx_vedec").glob("*.md")),
        ROOT / "mlx_vedec" / "assets" / "README.md",
    )
}
TEXT = PAGES["README.md"]
FAMILIES, GENERATION, LORA, QUANTIZE, CHECKPOINTS = (
    PAGES[f"mlx_vedec/{name}.md"]
    for name in ("FAMILIES", "GENERATION", "LORA", "QUANTIZE", "CHECKPOINTS")
)


def blocks_of(text):
    return re.findall(r"^```(\w*)([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


BLOCKS = blocks_of(TEXT)
SHELL = [
    line
    for kind, tag, body in BLOCKS
    + blocks_of(GENERATION)
    + blocks_of(CHECKPOINTS)
    + blocks_of(QUANTIZE)
    + blocks_of(PAGES["mlx_vedec/PAGES.md"])
    if (kind, tag.strip()) == ("sh", "")
    for line in body.splitlines()
]
PYTHON = [body for kind, _, body in BLOCKS + blocks_of(FAMILIES) if kind == "python"]
PYTHON += [
    "\n".join(body for kind, _, body in blocks_of(page) if kind == "python")
    for page in (GENERATION, QUANTIZE, PAGES["mlx_vedec/PAGES.md"])
]


def block(kind, tag):
    (body,) = [body for k, t, body in BLOCKS if (k, t.strip()) == (kind, tag)]
    return body.strip()


def run(command, tmp_path):
    """A README command, by this interpreter's own `mlx_vedec`, with the code of the checkout."""
    own = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{own}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(ROOT)
    if not shutil.which("mlx_vedec", path=str(own)):
        command = command.replace("mlx_vedec", f"{shlex.quote(sys.executable)} -m mlx_vedec", 1)
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )


@pytest.mark.slow
def test_the_first_command_prints_the_page(tmp_path):
    install, read = block("sh", "first").split(" && ")
    assert install == "pip install ."
    done = run(read, tmp_path)
    assert done.returncode == 0
    assert done.stderr == "" or (len(done.stderr.splitlines()) == 1 and "hint" in done.stderr)
    assert done.stdout.strip() == block("text", "page")


def test_the_second_command_runs_these_tests(tmp_path):
    """It installs what they import, leaves out the slow ones, and says so."""
    install, command = block("sh", "second").split(" && ")
    assert shlex.split(install) == ["pip", "install", ".[test]"]
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [extra] = re.findall(r"^test = \[(.*?)\]$", declared, re.MULTILINE | re.DOTALL)
    assert {"pytest", "hypothesis"} <= set(re.findall(r'"([a-z]+)', extra))
    done = run(f"{command} --collect-only -q -q tests/test_readme.py", tmp_path)
    counted = re.search(r"^tests/test_readme.py: (\d+)$", done.stdout, re.MULTILINE)
    assert done.returncode == 0 and counted and int(counted[1]) > 5, done.stdout + done.stderr
    assert re.search(r"^\d+ slow tests were left out; `pytest -m slow` ", done.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("command", SHELL)
def test_command(command, tmp_path):
    command = re.sub(r"(?<=path )(mlx_model|reader)", rf"{tmp_path}/\1", command)
    done = run(command, tmp_path)
    assert done.returncode == 0 and done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_code(code):
    exec(compile(code, "README.md", "exec"), {})


def fill(folder):
    """Splits of a few of the bundled lines, each with a table."""
    lines = ROOT / "mlx_vedec" / "assets" / "lines"
    rows = [line.split("\t") for line in (lines / "labels.tsv").read_text().splitlines()[1:9]]
    for split, own in {"train": rows[:4], "valid": rows[4:6], "test": rows[6:]}.items():
        (folder / split).mkdir(parents=True)
        for number, (name, *_) in enumerate(own):
            shutil.copy(lines / name, folder / split / f"{number}.png")
        table = "".join(f"{number}.png\t{text}\n" for number, (_, text, *_) in enumerate(own))
        (folder / split / "labels.tsv").write_text(table)


@pytest.mark.slow
def test_fine_tuning(tmp_path, monkeypatch, capsys):
    """The page's commands and code in their order, with a hundredth of the iterations."""
    fill(tmp_path / "data")
    (tmp_path / "mlx_vedec").symlink_to(ROOT / "mlx_vedec")
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, tag, body in blocks_of(LORA):
        if (kind, tag.strip()) == ("python", ""):
            exec(compile(body, "LORA.md", "exec"), names)
        elif kind == "yaml":
            Path("lora.yaml").write_text(body)
            assert read_settings("lora.yaml", parser())["rank"] == 16
        for line in body.splitlines() if (kind, tag.strip()) == ("sh", "") else ():
            program, *words = shlex.split(re.sub(r"(--iters \d+)00\b", r"\1", line))
            assert program == "mlx_vedec" and commands.main(words) == 0, capsys.readouterr().err
    found = {path.name for path in tmp_path.iterdir()}
    assert found >= {"adapters", "more", "python", "peft", "fused_model"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page])
    for link in links:
        assert ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_code_that_is_named_is_there(page):
    """Modules and names of the package, files, and the benchmarks that gave the figures."""
    for name in re.findall(r"\bmlx_vedec(?:\.\w+)+", PAGES[page]):
        pkgutil.resolve_name(name)
    for name in re.findall(r"\btests\.benchmarks\.([a-z]\w*)", PAGES[page]):
        assert (ROOT / "tests" / "benchmarks" / f"{name}.py").is_file(), name
    for name in re.findall(r"`((?:mlx_vedec|tests|examples)/[\w/]+\.py)\b", PAGES[page]):
        assert (ROOT / name).is_file(), name


def test_links_are_found():
    """README leads to every page, so the patterns above match something."""
    for page in PAGES:
        assert page == "README.md" or f"]({page})" in TEXT, page


def test_generation_names_every_option():
    for option in OPTIONS:
        assert f"`{option}`" in GENERATION, option


def test_generation_tells_the_defaults_that_there_are():
    defaults = {f.name: f.default for f in fields(Options)}
    checked = 0
    for cell, said in re.findall(r"^\| (`[^|]*) \|.*\| ([^|]*) \|$", GENERATION, re.MULTILINE):
        names, told = re.findall(r"`(\w+)`", cell), said.replace("`", "").split(", ")
        for name, value in zip(names, told if len(names) == len(told) else (), strict=False):
            if isinstance(defaults.get(name), (bool, int, float)):
                assert value == str(defaults[name]), name
                checked += 1
    assert checked > 10


def test_families_lists_every_model_type_and_names_tests_that_are_there():
    for model_type in (*ENCODERS, *DECODERS):
        assert f"`{model_type}`" in FAMILIES
    for name in re.findall(r"`((?:tests/)?test_\w+\.py)", FAMILIES):
        assert (ROOT / name).is_file() or (ROOT / "tests" / "parity" / name).is_file(), name


def test_the_map_has_every_room_in_the_order_of_imports():
    (shown,) = [body for kind, _, body in blocks_of(TEXT) if body.startswith("mlx_vedec/\n")]
    rooms = [room for floor in FLOORS for room in floor if (PACKAGE / room).is_dir()]
    assert re.findall(r"^  (\w+)/ ", shown, re.MULTILINE) == [*rooms, "assets"]


def test_it_is_short():
    assert len(TEXT.splitlines()) < 220
