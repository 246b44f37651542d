"""`mlx_vedec evaluate` at the command line."""

import csv
import json
import shutil

import pytest
from PIL import Image

from mlx_vedec import commands
from mlx_vedec.pages.layout import Layout, Line, Region
from mlx_vedec.pages.page import Page
from mlx_vedec.reading import load as loading
from mlx_vedec.reading.load import BUNDLED
from mlx_vedec.text.error_rates import character_error_rate
from tests.commands.test_commands import failed, run
from tests.conftest import DATA
from tests.tasks.test_tasks import LETTERS, folder, write

NAMES = ("seen_000.png", "held_003.png", "seen_003.png")
LABELS = ("_VANE_", ";(W| )", "R ch; (^Oig:a _NVM!ef [m$>r8")  # of the others, one sign is wrong
__all__ = ["folder", "run"]  # fixtures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three lines in the two splits of a folder."""
    target = tmp_path_factory.mktemp("data")
    texts = dict(zip(NAMES, LABELS, strict=True))
    for split, names in (("test", NAMES), ("valid", NAMES[:1])):
        (target / split).mkdir()
        for name in names:
            shutil.copy(DATA / "lines" / name, target / split)
        table = "".join(f"{name}\t{texts[name]}\n" for name in names)
        (target / split / "labels.tsv").write_text(table)
    return target


def test_a_table_of_metrics(run, data):
    code, out, err = run("evaluate", "--data", data / "test")
    title, *rows = out.partition("  calibration:")[0].splitlines()
    assert code == 0 and title.startswith("bundled model: 3 samples, ")
    assert [row.split()[0] for row in rows] == [
        *("cer", "wer", "mean_cer", "exact_match", "similarity")
    ]
    assert rows[3].split()[1:4] == ["33.33", "%", "95"]
    assert [line.split()[0] for line in err.splitlines()] == ["1/3", "2/3", "3/3"]


def test_a_split_as_json(run, data):
    flags = ("--split", "valid", "--json", "--bootstrap", 0, "--metrics", "exact_match", "anls")
    code, out, err = run("evaluate", "--data", data, *flags)
    [model] = json.loads(out)["models"]
    one = {"value": 1.0, "low": None, "high": None}
    assert (code, err) == (0, "") and model.pop("seconds") > 0
    assert model.pop("calibration")[0]["count"] == 1 and model.pop("calibration_error") < 0.1
    assert model == {
        "model": "bundled model",
        "samples": 1,
        "unread": [],
        "metrics": {"exact_match": one, "anls": one},
    }


def test_a_row_per_sample_and_a_sheet_of_the_worst(run, data, tmp_path):
    rows, sheet = tmp_path / "rows.csv", tmp_path / "worst.png"
    flags = ("--csv", rows, "--worst", sheet, "--num-worst", 1, "--json")
    code, out, _ = run("evaluate", "--data", data / "test", *flags)
    with rows.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert code == 0 and [row["image"].rpartition("/")[2] for row in found] == list(NAMES)
    texts = [[row[name] for row in found] for name in ("prediction", "reference")]
    [model] = json.loads(out)["models"]
    assert model["metrics"]["cer"]["value"] == pytest.approx(character_error_rate(*texts))
    assert [row["edits"] for row in found] == ["0", "1", "1"]
    assert found[0]["where"].endswith("labels.tsv:1") and found[0]["finish_reason"] == "stop"
    assert 0.9 < float(found[0]["confidence"]) <= 1
    with Image.open(sheet) as image:
        assert image.format == "PNG" and image.height < 150  # one of the two
    assert len(list(tmp_path.iterdir())) == 2


def test_texts_are_normalized(run, data):
    flags = ("--json", "--metrics", "exact_match", "--bootstrap", 0)
    rules = ("--lowercase", "--ignore-punctuation", "--collapse-whitespace", "--unicode", "NFKC")
    plain, folded = (
        json.loads(run("evaluate", "--data", data / "test", *flags, *more)[1])
        for more in ((), rules)
    )
    values = [found["models"][0]["metrics"]["exact_match"]["value"] for found in (plain, folded)]
    assert values == pytest.approx([1 / 3, 2 / 3])


def test_generation_flags(run, data):
    _, out, _ = run(
        "evaluate", "--data", data / "valid", "-m", 2, "--json", "-o", "repetition_penalty=1.0"
    )
    assert json.loads(out)["models"][0]["metrics"]["cer"]["value"] == pytest.approx(4 / 6)
    failed(run("evaluate", "--data", data / "valid", "-o", "num_beem=2"), "did you mean num_beams")


@pytest.mark.slow
def test_two_models_side_by_side(run, data):
    flags = ("--data", data / "test", "--reference", BUNDLED, "-m", 48)
    code, out, _ = run("evaluate", *flags)
    assert code == 0
    first, second, difference = out.split("\n\n")
    assert first.splitlines()[1:] == second.splitlines()[1:]
    title, *rows = difference.splitlines()
    assert title == f"difference: bundled model - {BUNDLED}"
    assert " ".join(rows[0].split()) == (
        "cer 0.00 % 95 %: 0.00 to 0.00 0 samples better, 0 worse not significant"
    )
    few = ("--data", data / "valid", "--reference", BUNDLED, "--json", "--bootstrap", 0)
    found = json.loads(run("evaluate", *few)[1])
    assert [model["model"] for model in found["models"]] == ["bundled model", str(BUNDLED)]
    assert found["difference"]["wer"] == {
        "value": 0.0,
        "low": None,
        "high": None,
        "better": 0,
        "worse": 0,
        "significant": False,
    }


def test_adapters_are_loaded_for_the_model_alone(run, data, monkeypatch):
    load, given = loading.load, []

    def record(source, **options):
        given.append((source, options.pop("adapter_path", None)))
        return load(source, **options)

    monkeypatch.setattr(loading, "load", record)
    flags = ("--model", BUNDLED, "--reference", BUNDLED, "--adapter-path", "mine")
    out = run("evaluate", "--data", data / "valid", *flags)[1]
    assert given == [(str(BUNDLED), "mine"), (str(BUNDLED), None)]
    assert f"difference: {BUNDLED} + mine - {BUNDLED}" in out


def test_an_image_that_cannot_be_read_is_counted_and_named(run, data, tmp_path):
    copy = tmp_path / "test"
    shutil.copytree(data / "test", copy)
    (copy / NAMES[1]).write_text("hello")
    code, out, err = run("evaluate", "--data", copy, "--worst", tmp_path / "worst.png")
    assert code == 1 and out.startswith("bundled model: 3 samples, 1 of them not read, ")
    [line] = [line for line in err.splitlines() if "warning" in line]
    assert "labels.tsv:2" in line and "is in no format Pillow knows" in line
    assert (tmp_path / "worst.png").is_file()


def test_a_folder_of_pages(run, tmp_path):
    pages = tmp_path / "pages"
    pages.mkdir()
    shutil.copy(DATA / "lines" / NAMES[0], pages / "a.png")
    with Image.open(pages / "a.png") as image:
        line = Line("_VANE_", (0, 0, *image.size))
    Page.of(Layout((Region((line,)),), image.size)).save(pages / "a.xml")
    rows = tmp_path / "rows.csv"
    code, out, _ = run("evaluate", "--data", pages, "--json", "--bootstrap", 0, "--csv", rows)
    [model] = json.loads(out)["models"]
    assert code == 0 and model["samples"] == 1
    assert [*model["metrics"]] == ["line_f1", "cer", "true_lines_cer", "wer", "reading_order"]
    assert model["metrics"]["true_lines_cer"]["value"] == 0
    with rows.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (row["reference"], row["true_lines_cer"]) == ("_VANE_", "0.000000")
    given = run("evaluate", "--data", pages, "--layout", pages, "--metrics", "line_f1", "cer")
    assert given[0] == 0 and "line_f1        100.00 %" in given[1]
    failed(run("evaluate", "--data", pages, "--layout", rows), "expected a folder of PAGE")
    failed(run("evaluate", "--data", pages, "--metrics", "anl"), "did you mean anls")


def test_layouts_are_for_pages(run, data):
    failed(
        run("evaluate", "--data", data / "test", "--layout", data), "has none with their layouts"
    )
    for flags, named in (
        (("--layout", data, "--split", "test"), "--layout is for pages; --split has each line"),
        (
            ("--metrics", "cer", "line_f1", "--data-layout", "pages"),
            "line_f1 is for pages; --data-",
        ),
        (("--metrics", "true_lines_cer"), "true_lines_cer is for pages"),
    ):
        failed(run("evaluate", "--data", data / "test", *flags), named)


def test_documents(run, folder):
    write(folder, ["<s_menu>", "<s_nm>", "</s_nm>", *LETTERS], "DonutProcessor")
    rows = folder / "forms.jsonl"
    shutil.copy(DATA / "lines" / NAMES[0], folder)
    row = {"file_name": NAMES[0], "ground_truth": json.dumps({"gt_parse": {"nm": "tea"}})}
    rows.write_text(json.dumps(row) + "\n")
    code, out, _ = run("evaluate", "--model", folder, "--data", rows, "--grammar", "-m", 8)
    metrics = out.partition("  calibration:")[0].splitlines()
    assert code == 0 and [line.split()[0] for line in metrics[-2:]] == [
        *("field_f1", "tree_accuracy")
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "no/where"], "no/where does not exist"),
        (["--data", "{data}"], "has the splits valid, test; expected one; give split"),
        (["--data", "{data}", "--split", "train"], "expected train"),
        (["--data", "{data}/test", "--metrics", "cre"], "'cre' is not a metric; did you mean cer"),
        (["--data", "{data}/test", "--metrics", "field_f1"], "need a model that writes JSON"),
        (["--data", "{data}/test", "--bootstrap", "-1"], "bootstrap is -1; expected 0"),
        (["--data", "{data}/test", "--bootstrap", "99999999"], "expected 0 (no intervals) to 1,0"),
        (["--data", "{data}/test", "--worst", "a.pdf"], "a.pdf; expected a file that ends in .png"),
        (["--data", "{data}/test", "--csv", "no/a.csv"], "the folder of no/a.csv does not exist"),
        (["--data", "{data}/test", "--num-worst", "0"], "--num-worst is 0; expected 1 or more"),
        (["--data", "{data}/test", "--batch-size", "0"], "batch_size is 0"),
    ],
)
def test_refusals(run, data, flags, message):
    failed(run("evaluate", *(flag.format(data=data) for flag in flags)), message)


def test_data_are_needed(run):
    code, out, err = run("evaluate")
    assert (code, out) == (2, "") and "required: --data" in err
    assert "evaluate" in commands.COMMANDS and run("evaluate", "--help")[0] == 0
