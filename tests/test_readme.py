"""The README and the other documents: what they say in code, names or numbers is checked against the project."""

import argparse
import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest

from medvlsm_training.config import Recipe, SourceConfig
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.cli import parser
from napari_medvlsm.core.exit_codes import ExitCode
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.models.store.registry import find_model

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("training/*.md"),
        *ROOT.glob("tests/**/*.md"),
        *ROOT.glob("napari_medvlsm/guide/*.md"),
    ]
)
BENCH = (ROOT / "tests" / "bench" / "README.md").read_text("utf-8")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands() -> list[tuple[str, str]]:
    """The document and the text of each `medvlsm` command, in a block or in backticks."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        lines = re.findall(r"^ {4,}(?:\w+=\S+ )*(?:srun )?(medvlsm .*)", text, re.M)
        for command in [*lines, *re.findall(r"`(medvlsm [^`]+)`", text)]:
            found.append((name(path), re.sub(r"\s+#.*", "", command).strip()))
    return found


def options_of(words: list[str]) -> tuple[set[str], list[str]]:
    """The options that a command and its subcommands know, and the words behind them."""
    known: set[str] = set()
    level = parser()
    while True:
        known |= set(level._option_string_actions)
        below = next((a for a in level._actions if isinstance(a, argparse._SubParsersAction)), None)
        if below is None or not words or words[0].startswith("-"):
            return known, words
        assert words[0] in below.choices, f"{words[0]} is no command; there are {', '.join(below.choices)}"
        level, words = below.choices[words[0]], words[1:]


def headings(path: Path) -> set[str]:
    """The anchors of a document, as the hub makes them."""
    titles = re.findall(r"^#+ (.*)", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short_and_shows_both_commands():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 150
    for command in (".ci/start", ".ci/test"):
        assert f"    {command}" in lines and (ROOT / command).is_file()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_to_files_and_headings(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_files_of_the_project_that_are_named_exist(path):
    text = path.read_text("utf-8")
    for file in re.findall(r"\b((?:tests|napari_medvlsm|medvlsm_training|core)/[\w/]+\.(?:py|png|yaml))\b", text):
        assert any((ROOT / top / file).is_file() for top in (".", "napari_medvlsm", "training")), file


@pytest.mark.parametrize(("document", "command"), commands())
def test_commands_and_options_are_those_of_the_command_line(document, command):
    if "|" in command:  # a list of subcommands
        stem, *rest = re.split(r"\s*\|\s*", command)
        variants = [stem, *(" ".join([*stem.split()[:-1], word]) for word in rest)]
    else:
        variants = [command.removesuffix("...")]
    for variant in variants:
        known, words = options_of(shlex.split(variant)[1:])
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= known, f"{document}: {used - known}"


def test_commands_are_found():
    assert len(commands()) > 40


SHOWN_RECIPES = {
    command
    for _, command in commands()
    if re.match(r"medvlsm train \S", command) and not re.search(r"RECIPE|mine\.yaml", command)
}


@pytest.mark.parametrize("command", sorted(SHOWN_RECIPES))
def test_recipes_and_changes_that_are_shown_load(command):
    words = shlex.split(command)[2:]
    load_recipe(words[0], [word for word in words if re.match(r"[\w.]+=", word)])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_recipe_keys_that_are_named_exist(path):
    for key in re.findall(
        r"\b((?:prompts|trainer|cache|model|augmentation|optimizer|loss|measure)\.(?!safetensors)\w+)[=`:]",
        path.read_text("utf-8"),
    ):
        section, field = key.split(".")
        (kind,) = [f.type for f in dataclasses.fields(Recipe) if f.name == section]
        module = __import__("medvlsm_training.config", fromlist=["config"])
        config = getattr(module, kind) if isinstance(kind, str) else kind
        assert field in {f.name for f in dataclasses.fields(config)}, key


def test_the_table_of_prompt_keys_names_keys():
    from medvlsm_training.config import PromptConfig

    table = (ROOT / "training" / "recipes.md").read_text("utf-8").split("| key | what it does |")[1].split("\n\n")[0]
    named = {key for row in table.splitlines()[2:] for key in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert len(named) > 6 and named <= {f.name for f in dataclasses.fields(PromptConfig)}


def test_the_recipe_that_is_shown_has_keys_of_recipes():
    import yaml

    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "training" / "README.md").read_text("utf-8"), re.S)
    recipe = yaml.safe_load(shown)
    assert set(recipe) <= {f.name for f in dataclasses.fields(Recipe)}
    for source in recipe["sources"]:
        assert isinstance(source, str) or set(source) <= {f.name for f in dataclasses.fields(SourceConfig)}


def test_the_table_of_exit_codes_has_them_all():
    table = (ROOT / "training" / "events.md").read_text("utf-8").split("## Exit codes")[1].split("## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)] == [code.value for code in ExitCode]


def test_the_five_lines_of_python_run(samples):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "training" / "command-line.md").read_text("utf-8"), re.S)
    scope = {"path": samples / "chest_xray.tif"}
    exec(code, scope)
    size = read_scan(samples / "chest_xray.tif").size
    assert [mask.shape for mask in scope["masks"]] == [size, size]


def test_the_starters_table_is_the_cards():
    metrics = json.loads((find_model("starter").folder / "model_card.json").read_text())["metrics"]["test"]
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", BENCH.split("## What words do")[0], re.M)
    assert {name for name, *_ in rows} == set(metrics)
    for name, cases, dice, iou in rows:
        row = metrics[name]
        assert (cases, dice, iou) == (str(row["cases"]), f"{row['dice']:.2f}", f"{row['iou']:.2f}")


def test_the_table_of_words_is_the_cards():
    effects = json.loads((find_model("starter").folder / "model_card.json").read_text())["prompt_effect"]
    table = BENCH.split("how much of the outline changes")[1].split("So the name")[0]
    head, rule, *rows = (line for line in table.splitlines() if line.startswith("|"))
    assert [int(n) for n in re.findall(r"\((\d+)\)", head)] == [found["cases"] for found in effects.values()]
    names = dict.fromkeys(name for found in effects.values() for name in found["contrasts"] if name != "your words")
    told = {
        name: [f"{found['contrasts'][name]['change']:.1%}".replace("%", " %") for found in effects.values()]
        for name in names
    }
    for name in ("the opposite side", "the wrong size"):
        margins = [f"{100 * found['contrasts'][name]['margin']:.1f}" for found in effects.values()]
        told[f"{name}, points behind"] = margins
    told["the right one of two"] = [
        f"{found['one of two']['picked']:.0%}".replace("%", " %") for found in effects.values()
    ]
    assert len(rows) == len(told) and set(rule) <= set("|-:")
    for row, (name, values) in zip(rows, told.items(), strict=True):
        what, *shown = (cell.strip() for cell in row.strip("|").split("|"))
        assert what.startswith(name) and shown == values
