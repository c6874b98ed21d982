"""A recipe's settings for reading one data set."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from napari_medvlsm.core.io.mask_files import Foreground, check_rule


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SourceConfig:
    """One data set of a recipe.

    Attributes
    ----------
    folder : str
        Its folder inside the data folder; "." where the data folder itself is the data set.
    layout : str
        "upstream" (`anns/*.json`), "lists" (`splits/*.txt`, with `targets.csv` where an image has several masks), or ""
        to see which it is.
    modality : str
        Key of the vocabulary's modalities; "" to take it from the cases, from `dataset.yaml`, or from the target.
    name, licence, citation : str
        For the model card; "" to take them from `dataset.yaml`.
    target : str
        Phrase of the target for layout "lists"; "" to take it from `targets.csv`, or from the annotation files.
    repeat : int
        How often each training image is seen in an epoch.
    split_lungs : bool
        Whether a mask of both lungs also gives the left and the right one.
    only : tuple of str
        With `targets.csv`: the targets to take.
    licences : tuple of str
        With `licences.csv`: the licences to take.
    group_column : str
        Column of any of the folder's tables that names patient, sequence or case. Groups of it that are in two splits
        are left out of training where they are also in validation or test.
    leave_out : tuple of str
        Names of images to leave out, such as copies of tested ones.
    as_listed : bool
        Keep images and cases that are in two splits in both, as the paper's code does; the check of the data then
        refuses them unless the recipe accepts that.
    foreground : str, int or tuple of int
        What the values of the masks mean, where they do not say it themselves: "nonzero", "half", "dark", "alpha", or
        the values that are the target; "" to take it from `dataset.yaml`.
    tested_only : bool
        Never train or validate on it, and read its test split alone: a set that the model is to meet for the first
        time in the test.
    """

    folder: str
    layout: Literal["upstream", "lists", ""] = ""
    modality: str = ""
    name: str = ""
    licence: str = ""
    citation: str = ""
    target: str = ""
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1
    split_lungs: bool = False
    only: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    group_column: str = ""
    leave_out: tuple[str, ...] = ()
    as_listed: bool = False
    tested_only: bool = False
    foreground: Foreground = ""

    def __post_init__(self) -> None:
        check_rule(self.foreground)
