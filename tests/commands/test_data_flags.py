"""The flags that choose data, in the commands that read them."""

import csv
import json

import pytest
from PIL import Image

from tests.commands.test_commands import failed
from tests.commands.test_lora import TEXTS, folder, model, place, run
from tests.data.folders import iam, save, write
from tests.data.test_page_lines import ALTO, folder_of

__all__ = ["folder", "model", "place", "run"]  # fixtures


@pytest.fixture
def words(tmp_path):
    """A table with other names of columns, and marks of its own."""
    for number in range(len(TEXTS)):
        save(tmp_path / "words" / "in" / f"{number}.png", number)
    rows = "".join(f"{text};in/{number}.png\n" for number, text in enumerate(TEXTS))
    write(tmp_path / "words" / "words.csv", f"said;scan\n{rows}")
    return tmp_path / "words"


@pytest.mark.slow
def test_columns_and_a_part_to_validate_on(run, model, words, tmp_path):
    """`lora` reads them, keeps the flags, and names them for `evaluate`, which reads the same."""
    chosen = ("--image-column", "scan", "--text-column", "said", "--valid-fraction", 0.3)
    common = ("--model", model, "--adapter-path", tmp_path / "out")
    code, _, err = run(
        *("lora", "--train", *common, "--data", words, *chosen, "--seed", 5),
        *("--iters", 2, "--batch-size", 2),
    )
    assert code == 0, err
    flags = "--image-column scan --text-column said --valid-fraction 0.3 --seed 5 --split valid"
    assert f"--data {words} {flags}" in err
    kept = json.loads((tmp_path / "out" / "lora.json").read_text())
    assert (kept["image_column"], kept["valid_fraction"]) == ("scan", 0.3)
    table = tmp_path / "rows.csv"
    read = ("evaluate", *common, "--data", words, *flags.split(), "--csv", table, "--json")
    code, out, err = run(*read)
    assert code == 0 and json.loads(out)["models"][0]["samples"] == 2, err
    with table.open(newline="") as file:
        found = {row["image"] for row in csv.DictReader(file)}
    assert len(found) == 2 and all(name.startswith(str(words / "in")) for name in found)
    other = ("lora", "--train", "--resume", *common, "--text-column", "scan", "--iters", 3)
    failed(run(*other), "text_column was 'said' and is 'scan'")


def test_what_a_folder_is_not(run, model, words, tmp_path):
    common = ("--model", model, "--data", words)
    failed(
        run("evaluate", *common), "the row has said, scan; expected one of image, file_name, fil"
    )
    failed(run("evaluate", *common, "--data-layout", "iam"), "has no training data")
    train = ("lora", "--train", *common, "--adapter-path", tmp_path / "out")
    failed(run(*train, "--valid-fraction", 2), "valid_fraction is 2.0; expected more than 0")
    failed(run(*train, "--normal-form", "x"), "normal_form is 'x'; expected NFC")
    assert not (tmp_path / "out").exists()


def test_iam_is_read_by_all(run, model, tmp_path):
    """Its texts have what the vocabulary of the tiny model lacks, which is said."""
    data, out = iam(tmp_path / "iam"), tmp_path / "out"
    common = ("--model", model, "--data", data)
    code, found, err = run("evaluate", *common, "--metrics", "cer", "--json")
    assert code == 0 and json.loads(found)["models"][0]["samples"] == 3, err
    code, _, err = run("lora", "--train", *common, "--adapter-path", out, "--iters", 1)
    assert code == 0 and "3 of 3 texts have what the vocabulary lacks" in err


def test_pages_are_drawn_where_they_went_wrong(run, model, tmp_path):
    """`--worst` shows lines that stand on a page."""
    folder_of(tmp_path / "pages", "page.xml", ALTO)
    picture = tmp_path / "worst.png"
    data = ("--data", tmp_path / "pages", "--data-layout", "pages")
    code, _, err = run("evaluate", "--model", model, *data, "--worst", picture)
    assert code == 0 and "left out 1 line without a text" in err
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(2**16)) > 100
