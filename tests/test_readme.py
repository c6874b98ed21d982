"""What the README says in code or numbers of its own is checked against the project."""

import json
import re
from pathlib import Path

from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.models.store.registry import find_model

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_the_five_lines_of_python_run(samples):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope = {"path": samples / "chest_xray.tif"}
    exec(code, scope)
    size = read_scan(samples / "chest_xray.tif").size
    assert [mask.shape for mask in scope["masks"]] == [size, size]


def test_the_starters_table_is_the_cards():
    metrics = json.loads((find_model("starter").folder / "model_card.json").read_text())["metrics"]["test"]
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", README, re.M)
    assert {name for name, *_ in rows} == set(metrics)
    for name, cases, dice, iou in rows:
        row = metrics[name]
        assert (cases, dice, iou) == (str(row["cases"]), f"{row['dice']:.2f}", f"{row['iou']:.2f}")


def test_files_that_the_readme_names_exist():
    root = Path(__file__).parents[1]
    for name in re.findall(r"\((tests/[^)]+)\)|`(tests/bench/\w+\.\w+)`", README):
        assert (root / (name[0] or name[1])).is_file()
    for command in (".ci/start", ".ci/test"):
        assert f"    {command}\n" in README and (root / command).is_file()


def test_the_table_of_words_is_the_cards():
    effects = json.loads((find_model("starter").folder / "model_card.json").read_text())["prompt_effect"]
    table = README.split("when the words are changed.")[1].split("So the name")[0]
    head, rule, *rows = (line for line in table.splitlines() if line.startswith("|"))
    assert [int(n) for n in re.findall(r"\((\d+)\)", head)] == [found["cases"] for found in effects.values()]
    names = dict.fromkeys(name for found in effects.values() for name in found["contrasts"] if name != "your words")
    assert len(rows) == len(names) and set(rule) <= set("|-:")
    for row, name in zip(rows, names, strict=True):
        what, *shown = (cell.strip() for cell in row.strip("|").split("|"))
        assert what.startswith(name)
        assert shown == [f"{found['contrasts'][name]['change']:.1%}".replace("%", " %") for found in effects.values()]
