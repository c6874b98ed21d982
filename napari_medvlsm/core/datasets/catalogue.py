"""Catalogue of the known data sets: one file each, `data/datasets/NAME.yaml`.

A file holds where the data come from, their terms and how the folder must look, and the sections `recipe` (what a
recipe that names the set takes from there), `prompts` (upstream's words, read by `core.prompts.upstream`) and
`published` (the paper's numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

# Tables of the paper that hold numbers by level of prompt, beside its Table 2.
_PROMPT_TABLES = ("zero_shot", "fine_tuned")
_SECTIONS = frozenset({"recipe", "prompts", "published"})


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of one data set.

    Attributes
    ----------
    name : str
        Also that of its folder.
    title, scans, origin, terms, citation, files : str
        Terms are as far as known, to be verified at the origin.
    items : mapping
        Masks by split in upstream's annotation files.
    layout : tuple of str
        Where its images and masks lie in its folder.
    faults : tuple of str
        Known errors of upstream's files.
    """

    name: str
    title: str
    scans: str
    origin: str
    terms: str
    citation: str
    files: str
    items: Mapping[str, int]
    layout: tuple[str, ...] = ("images/NAME", "masks/NAME")
    faults: tuple[str, ...] = field(default=())

    @property
    def folders(self) -> tuple[str, ...]:
        """What its folder must hold."""
        annotations = ",".join(self.items)
        return (*self.layout, f"anns/{{{annotations}}}.json" if len(self.items) > 1 else f"anns/{annotations}.json")


@cache
def read_catalogue() -> Mapping[str, Mapping[str, Any]]:
    """All files by the name of the data set, those of the paper in its order."""
    folder = resources.files("napari_medvlsm") / "data" / "datasets"
    found = {
        entry.name.removesuffix(".yaml"): _read(entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
    paper = _tables()["table_2"]["sets"]
    return {name: found[name] for name in (*paper, *sorted(found.keys() - {*paper}))}


@cache
def load_catalogue() -> dict[str, DatasetFacts]:
    """The paper's eleven data sets by name."""
    return {name: _facts(name, raw) for name, raw in read_catalogue().items() if "origin" in raw}


def recipe_sources() -> dict[str, Mapping[str, Any]]:
    """What a recipe needs to know of the data sets that it names: values of `SourceConfig` by name."""
    return {name: raw["recipe"] for name, raw in read_catalogue().items()}


@cache
def published() -> dict[str, Any]:
    """The paper's numbers (Dice in percent) with their sources, table by table.

    `table_2` has `sets` and `rows` of `trained_on`, `model` and `dice` by set; `zero_shot` and `fine_tuned` have
    `levels` and `rows` of `set`, `model` and `dice` by level. None stands where nothing was published.
    """
    tables = _tables()
    second = tables["table_2"]
    by_set = {name: read_catalogue()[name].get("published", {}) for name in second["sets"]}
    cells = {
        (trained, model): [by_set[name].get("table_2", {}).get(trained, {}).get(model) for name in second["sets"]]
        for trained in second["trained_on"]
        for model in second["models"]
    }
    second["rows"] = [
        {"trained_on": trained, "model": model, "dice": dice}
        for (trained, model), dice in cells.items()
        if any(value is not None for value in dice)
    ]
    for table in _PROMPT_TABLES:
        levels = len(tables[table]["levels"])
        tables[table]["rows"] = [
            {"set": name, "model": model, "dice": [*dice, *[None] * (levels - len(dice))]}
            for name, numbers in by_set.items()
            for model, dice in numbers.get(table, {}).items()
        ]
    return tables


def _tables() -> dict[str, Any]:
    found: dict[str, Any] = _read((resources.files("napari_medvlsm") / "data" / "published.yaml").read_text("utf-8"))
    return found


def _read(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _facts(name: str, raw: Mapping[str, Any]) -> DatasetFacts:
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items() if k not in _SECTIONS}
    return DatasetFacts(name=name, **values)
