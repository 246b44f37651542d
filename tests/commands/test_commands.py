"""The command line as a user meets it: what is printed where, and what it exits with."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mlx_vedec
from mlx_vedec import commands
from mlx_vedec.images.watching import PATIENCE
from mlx_vedec.reading.load import BUNDLED
from tests.conftest import DATA, ROOT
from tests.support.readers import top_of_the_page

LINE = str(DATA / "lines" / "seen_006.png")
OTHER = str(DATA / "lines" / "seen_009.png")


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def call(*argv):
        try:
            code = commands.main(list(map(str, argv)))
        except SystemExit as stop:
            code = stop.code
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


def failed(result, message):
    """One line on stderr that says what was wrong, nothing on stdout, exit code 1."""
    code, out, err = result
    assert code == 1 and out == ""
    assert message in err and err.count("\n") == 1, err


def test_one_image_is_one_line(run):
    assert run("generate", "--image", LINE) == (0, "wheel 206,3\n", "")


def test_several_images_and_folders_with_progress(run, tmp_path):
    for name in ("b.PNG", "a.png"):
        shutil.copy(LINE, tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    code, out, err = run("generate", "--image", OTHER, tmp_path, "--batch-size", 2)
    assert (code, out) == (0, "2006-2008 Frank Licht\n" + "wheel 206,3\n" * 2)
    names = [OTHER, str(tmp_path / "a.png"), str(tmp_path / "b.PNG")]
    assert err.splitlines() == [f"{n}/3 {name}" for n, name in enumerate(names, start=1)]


def test_json(run):
    code, out, _ = run("generate", "--image", LINE, OTHER, "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 0 and list(first) == [
        "image",
        "text",
        "confidence",
        "tokens",
        "finish_reason",
        "box",
    ]
    assert (first["image"], first["text"], first["finish_reason"]) == (LINE, "wheel 206,3", "stop")
    assert first["tokens"][-1] == 2 and 0.9 < first["confidence"] <= 1
    assert (first["box"], second["box"]) == ([0, 0, 384, 32], [0, 0, 768, 64])


def test_split_lines(run, tmp_path):
    path, expected = top_of_the_page(tmp_path)
    page = ("generate", "--split-lines", "--image", path)
    assert run(*page) == (0, "\n".join(expected) + "\n", "")
    code, out, _ = run(*page, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [row["text"] for row in rows] == expected
    with Image.open(path) as image:
        width, height = image.size
    for left, top, right, bottom in (row["box"] for row in rows):
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_a_hint_where_the_image_is_no_line(run):
    code, out, err = run("generate", "--image", "examples/page.png")
    assert code == 0 and "--split-lines prepares them" in err


def test_one_bad_image_among_good_ones(run, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("hello")
    code, out, err = run("generate", "--image", LINE, bad, OTHER)
    assert (code, out) == (1, "wheel 206,3\n2006-2008 Frank Licht\n")
    assert [line for line in err.splitlines() if "error" in line][0].count("bad.png") == 1


def test_stdin(tmp_path):
    command = [sys.executable, "-m", "mlx_vedec", "generate", "--image", "-"]
    with open(LINE, "rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "wheel 206,3\n", "")


@pytest.mark.parametrize("flags", [(), ("--json",), ("--split-lines",), ("--output",)])
def test_images_that_come_to_a_folder(run, tmp_path, monkeypatch, flags):
    """Read one by one until Ctrl-C; one that cannot be read does not end it."""

    def happen(_):
        steps.pop(0)()

    def end():
        raise KeyboardInterrupt

    def come(image=LINE):
        (tmp_path / "new.png").write_bytes(Path(image).read_bytes())

    results = tmp_path / "results"
    flags = (*flags, results) if "--output" in flags else flags
    (tmp_path / "old.png").write_bytes(b"is not read")
    wrong = [lambda: (tmp_path / "wrong.png").write_bytes(b"x"), *[lambda: None] * PATIENCE]
    twin = [lambda: (tmp_path / "new.jpg").write_bytes(Path(LINE).read_bytes()), lambda: None]
    again = [lambda: come(OTHER), lambda: None, *twin]
    steps = [*wrong, come, lambda: None, *(again if "--output" in flags else ()), end]
    monkeypatch.setattr("mlx_vedec.images.watching.time.sleep", happen)
    code, out, err = run("generate", "--watch", tmp_path, *flags)
    if "--output" in flags:
        out = (results / "new.txt").read_text()
        errors = (results / "errors.jsonl").read_text()
        assert "wrong.png is in no format" in errors and "new.jpg would both be new.txt" in errors
        assert out == "2006-2008 Frank Licht\n"  # it was written anew
        out = "wheel 206,3"
    lines = out.replace("\f", "").splitlines()
    texts = [json.loads(line)["text"] for line in lines] if "--json" in flags else lines
    assert code == 0 and "wheel 206,3" in texts and "wrong.png is in no format" in err
    failed(run("generate", "--watch", tmp_path, LINE), "leave out the images")
    failed(run("generate", "--watch", tmp_path / "none"), "cannot be watched")
    same = ("--output", tmp_path, "--format", "alto")
    failed(run("generate", "--watch", tmp_path, *same), "expected another folder for results")


def test_verbose_says_what_is_used(run):
    code, out, err = run("generate", "--image", LINE, "--verbose", "-m", 3)
    assert (code, out) == (0, "whe\n")
    assert "'max_length': 4" in err and "tokens/s" in err


def test_beams_words_and_alternatives_as_json(run):
    flags = ("--num-beams", 3, "-o", "num_return_sequences=2", "-o", "length_penalty=2.0")
    code, out, _ = run("generate", "--image", LINE, "--json", "--boxes", *flags)
    row = json.loads(out)
    assert code == 0 and row["text"] == "wheel 206,3"
    assert [word["text"] for word in row["boxes"]] == ["wheel", "206,3"]
    assert all(len(word["box"]) == 4 and word["confidence"] > 0.5 for word in row["boxes"])
    [other] = row["alternatives"]
    assert other["text"] != row["text"] and other["score"] < 0


@pytest.mark.slow
def test_words_of_a_page_as_json(run, tmp_path):
    path, _ = top_of_the_page(tmp_path)
    page = ("generate", "--split-lines", "--image", path, "--json", "--boxes")
    rows = [json.loads(line) for line in run(*page)[1].splitlines()]
    assert [" ".join(w["text"] for w in row["boxes"]) for row in rows] == [r["text"] for r in rows]


def test_sampling_from_a_seed(run):
    flags = ("generate", "--image", LINE, "--temp", 3.0, "--top-p", 0.99, "-m", 9)
    texts = [run(*flags, "--seed", seed)[1] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_options_that_no_flag_has(run):
    stop = ("-o", "stop_strings=el 2", "-o", "no_repeat_ngram_size=3")
    assert run("generate", "--image", LINE, *stop) == (0, "wheel 2\n", "")
    failed(run("generate", "--image", LINE, "-o", "num_beams"), "expected NAME=VALUE")
    failed(run("generate", "--image", LINE, "-o", "num_beem=2"), "did you mean num_beams")
    twice = ("--num-beams", 2, "-o", "num_beams=3")
    failed(run("generate", "--image", LINE, *twice), "each name once")
    failed(run("generate", "--image", LINE, "--temp", -1), "temp is -1.0; expected a number of 0")
    failed(run("generate", "--image", LINE, "--kv-bits", 9), "kv_bits is 9; expected 2, 3, 4")


def test_a_text_that_does_not_end_is_said_to(run):
    endless = ("--option", "logit_bias=[[[20], 100.0]]", "--option", "eos_token_id=[]")
    code, out, err = run("generate", "--image", LINE, *endless)
    assert code == 0 and f"warning: the text of {LINE} was cut after 71 tokens" in err
    code, out, err = run("generate", "--image", LINE, *endless, "-m", 5)
    assert (code, err) == (0, "")
    circles = ("--option", 'stop_on_repetition="ngram"')
    code, out, err = run("generate", "--image", LINE, *endless, *circles)
    assert code == 0 and "runs in circles and was cut there" in err


def test_convert(run, tmp_path):
    target = tmp_path / "new" / "model"
    code, out, _ = run("convert", "--model", BUNDLED, "--mlx-path", target, "--dtype", "bfloat16")
    assert (code, out) == (0, f"{target}\n")
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    assert run("generate", "--model", target, "--image", LINE)[:2] == (0, "wheel 206,3\n")
    failed(run("convert", "--hf-path", BUNDLED, "--mlx-path", target), "exists; give another path")
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_converter_from_a_checkout(tmp_path):
    command = [sys.executable, "convert.py", "--model", BUNDLED, "--mlx-path", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and (tmp_path / "out" / "model.safetensors").is_file()


def checkpoint(tmp_path, **replaced):
    folder = tmp_path / "checkpoint"
    shutil.copytree(BUNDLED, folder)
    for name, content in replaced.items():
        path = folder / f"{name}.{'safetensors' if name == 'model' else 'json'}"
        path.write_bytes(content(path.read_bytes()))
    return folder


def with_encoder(content):
    values = json.loads(content)
    values["encoder"]["model_type"] = "focalnet"
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"config": lambda _: b"{oops"}, "config.json is not JSON"),
        ({"config": with_encoder}, "encoder model_type is 'focalnet'; known are "),
        ({"config": lambda c: c.replace(b'"vocab_size": 278', b'"vocab_size": 99')}, "misshapen"),
        ({"model": lambda c: c[:-100]}, "download it again"),
        ({"tokenizer": lambda _: b"{}"}, "tokenizer.json"),
        ({"preprocessor_config": lambda c: c.replace(b"ViT", b"Zip")}, "image_processor_type"),
    ],
)
def test_bad_checkpoints(run, tmp_path, replaced, message):
    failed(run("generate", "--model", checkpoint(tmp_path, **replaced), "--image", LINE), message)


def test_bad_images(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    cases = {
        "no/such.png": "does not exist",
        tmp_path / "empty": "has no images",
        tmp_path / "text.png": "text.png",
        tmp_path / "dot.png": "1x1 pixels",
    }
    for image, message in cases.items():
        failed(run("generate", "--image", image), message)
        failed(run("generate", "--split-lines", "--image", image), message)


def test_bad_values(run):
    failed(run("generate", "--image", LINE, "-m", 0), "max_new_tokens is 0")
    failed(run("generate", "--image", LINE, "--batch-size", 0), "batch_size is 0")
    failed(run("generate", "--image", LINE, "-p", "x" * 90), "prompt of 91 tokens")
    failed(run("generate", "--model", "nowhere", "--image", LINE), "neither a folder nor a Hub id")


def test_a_prompt_for_lines(run):
    page = ("generate", "--split-lines", "--image", "examples/page.png")
    failed(run(*page, "-p", "Dear"), "--prompt is for whole images")
    failed(run(*page, "examples/page.png", "-m", 0), "max_new_tokens is 0")


def test_bad_stdin_is_read_once():
    command = [sys.executable, "-m", "mlx_vedec", "generate", "--image", "-"]
    done = subprocess.run(command, input=b"hello", capture_output=True, cwd=ROOT)
    assert done.returncode == 1 and b"standard input is in no format" in done.stderr


def test_debug_shows_the_traceback(run):
    with pytest.raises(ValueError, match="neither a folder"):
        run("generate", "--model", "nowhere", "--image", LINE, "--debug")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "usage: mlx_vedec"),
        (["genrate"], "genrate is not a command; did you mean generate?"),
        (["zzz"], "known are generate, convert"),
        (["generate"], "the following arguments are required: --image"),
        (["generate", "--image", LINE, "--dtype", "int8"], "invalid choice"),
    ],
)
def test_usage_errors_exit_with_2(run, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "") and message in err


@pytest.mark.parametrize("argv", [["--help"], ["generate", "--help"], ["convert", "-h"]])
def test_help(run, argv):
    code, out, err = run(*argv)
    assert (code, err) == (0, "") and "usage: mlx_vedec" in out


def test_version(run):
    [version] = re.findall(r'= "(.+)"', (ROOT / "mlx_vedec" / "version.py").read_text())
    assert run("--version") == (0, f"mlx_vedec {version}\n", "")
    assert mlx_vedec.__version__ == version and re.match(r"\d+\.\d+\.\d+", version)


def test_installed_names():
    """`mlx_vedec` and `mlx_vedec.<command>` for each command, as declared to the installer."""
    declared = (ROOT / "pyproject.toml").read_text()
    for name in commands.COMMANDS:
        assert f'"mlx_vedec.{name}" = "mlx_vedec.commands.{name}:main"' in declared


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m mlx_vedec generate --image {LINE} {LINE} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
