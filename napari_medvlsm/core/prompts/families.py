"""The templates and levels of a kind of scan, from `data/prompts/families`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from napari_medvlsm.core.prompts.attributes import LABELS, LEVELS
from napari_medvlsm.core.prompts.english import joined
from napari_medvlsm.core.prompts.forms import Form

# Its forms fit any target.
GENERIC = "photographic"


@dataclass(frozen=True)
class PromptFamily:
    """How prompts about one kind of scan are written.

    Attributes
    ----------
    name, title : str
    attributes : tuple of str
        What can be said, in the order in which the interface asks.
    levels : mapping
        What each level says beside the name of the target.
    clean : tuple of Form
        What the interface writes; the others are paraphrases.
    clean_absent : Form
    upstream : mapping
        What upstream medvlsm writes at each level, to the letter; a tuple where it holds a list of paraphrases.
    upstream_absent : Form or None
    upstream_names : mapping
        Upstream's name of a target, where it is another.
    words : mapping
        The words of attributes that belong to this kind of scan alone.
    """

    name: str
    title: str
    attributes: tuple[str, ...]
    levels: Mapping[str, frozenset[str]]
    clean: tuple[Form, ...]
    clean_absent: Form
    upstream: Mapping[str, Form | tuple[Form, ...]]
    upstream_absent: Form | None = None
    upstream_names: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def level_of(self, names: frozenset[str]) -> str:
        """The simplest level that says all the attributes in `names`; the richest if none says them all."""
        wanted = names & frozenset(self.attributes)
        holding = [level for level in self.levels if wanted <= self.levels[level]]
        return min(holding, key=lambda level: len(self.levels[level]), default=self.richest)

    def upstream_forms(self, level: str) -> tuple[Form, ...]:
        """Upstream's form of a level, or all its paraphrases."""
        forms = self.upstream[level]
        return forms if isinstance(forms, tuple) else (forms,)

    @property
    def richest(self) -> str:
        """The level that says the most; of equals the last."""
        return max(self.levels, key=lambda level: (len(self.levels[level]), level))

    def explain(self, level: str) -> str:
        """A level in words, such as "name, shape and colour"."""
        if level == "p0":
            return "no words at all"
        said = [LABELS[name] for name in self.attributes if name in self.levels[level]]
        return f"name, {joined(said)}" if len(said) > 1 else " and ".join(["name", *said]) if said else "name only"


@cache
def load_families() -> dict[str, PromptFamily]:
    """All families by name, the generic one first."""
    return {name: _family(name) for name in (GENERIC, "breast_ultrasound", "heart_ultrasound", "chest_xray")}


def read_data(*parts: str) -> Any:
    """A YAML file below `data/prompts`."""
    path = (resources.files("napari_medvlsm") / "data" / "prompts").joinpath(*parts)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), loader)


def _family(name: str) -> PromptFamily:
    raw = read_data("families", f"{name}.yaml")
    absent = raw.get("upstream_absent")
    return PromptFamily(
        name=name,
        title=raw["title"],
        attributes=tuple(raw["attributes"]),
        levels={level: frozenset(raw["levels"][level]) for level in LEVELS if level in raw["levels"]},
        clean=tuple(Form(text) for text in raw["clean"]),
        clean_absent=Form(raw["clean_absent"]),
        upstream={
            level: tuple(Form(t) for t in text) if isinstance(text, list) else Form(text)
            for level, text in raw["upstream"].items()
        },
        upstream_absent=Form(absent) if absent else None,
        upstream_names=raw.get("upstream_names", {}),
        words={k: tuple(v) for k, v in raw.get("words", {}).items()},
    )
