"""Where the paper's data sets come from, their terms and how their folders must look: `data/datasets.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import yaml


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
        Masks by split in the release's annotation files.
    layout : tuple of str
        Where its images and masks lie in its folder.
    faults : tuple of str
        What is known to be wrong with the release's files.
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
def load_catalogue() -> dict[str, DatasetFacts]:
    """The eleven data sets by name."""
    text = (resources.files("napari_medvlsm") / "data" / "datasets.yaml").read_text("utf-8")
    return {name: _facts(name, raw) for name, raw in yaml.safe_load(text).items()}


def _facts(name: str, raw: dict[str, object]) -> DatasetFacts:
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    return DatasetFacts(name=name, origin=str(values.pop("from")), **values)  # type: ignore[arg-type]
