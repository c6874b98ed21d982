"""Which images of a data set belong together: one rule for splits, the check of data, and confidence intervals.

The first of these that knows an image's group counts:

1. the column of a table (`*.csv` with a column "image") that a recipe or command names;
2. the case's own field `group` in the annotation file;
3. `patients.csv`, `sequences.csv`, `groups.csv` or `licences.csv` (whose `url` names the case that an image is from),
   the first that is there;
4. file names that begin with a patient (CAMUS, CheXlocalize).

A group is written as its kind and its name, such as "patient 7".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from napari_medvlsm.core.plain_files import is_system_file, is_there, read_table, shown

# Tables, their column, and the kind of the groups.
GROUP_TABLES = {
    "patients.csv": ("patient", "patient"),
    "sequences.csv": ("sequence", "sequence"),
    "groups.csv": ("group", "group"),
    "licences.csv": ("url", "case"),
}
IMAGE = "image"
_KINDS = dict(GROUP_TABLES.values())
_PATIENT = re.compile(r"patient(\d+)")


@dataclass(frozen=True)
class Groups:
    """The groups of a data set's images.

    Attributes
    ----------
    by_image : mapping
        From a table, by the image's name as listed, or that without its ending.
    named : bool
        Whether the table is one that was named: then nothing else counts.
    """

    by_image: Mapping[str, str]
    named: bool = False

    def of(self, image: str, own: str = "", part: str = "") -> str:
        """The group of an image, "" where nothing is known.

        Parameters
        ----------
        image : str
            Its name as listed.
        own : str
            The case's own field.
        part : str
            Part of the data set in which equal file names are other patients ("train" and "test" of CAMUS).
        """
        if self.named:
            return self._in_table(image)
        if own:
            return tidy(own)
        if found := self._in_table(image):
            return found
        match = _PATIENT.match(PurePosixPath(image).name)
        if match is None:
            return ""
        return f"patient {part}/{match[1]}" if part else f"patient {match[1]}"

    def names_none_of(self, images: Iterable[str]) -> bool:
        """Whether there is a table, which has none of these images, of which there are some."""
        listed = list(images)
        return bool(self.by_image and listed) and not any(map(self._in_table, listed))

    def _in_table(self, image: str) -> str:
        """By the image's name as listed, or by that without its ending."""
        return self.by_image.get(image) or self.by_image.get(re.sub(r"\.[^./]+$", "", image), "")


def tidy(group: str) -> str:
    """A group as a person or program names it, with single spaces and its kind in front: "7" is "group 7"."""
    plain = " ".join(group.split())
    kind = plain.partition(" ")
    return plain if not plain or (kind[0] in _KINDS.values() and kind[2]) else f"group {plain}"


def grouped_by(groups: Iterable[str]) -> str:
    """What images are grouped by, in words: "patient", "sequence", "patient or image" where some have no group."""
    kinds = {group.partition(" ")[0] or IMAGE for group in groups}
    return " or ".join(sorted(kinds, key=lambda kind: (kind == IMAGE, kind))) or IMAGE


def read_groups(folder: Path, column: str = "") -> Groups:
    """The groups that the tables of a folder name.

    Parameters
    ----------
    folder : Path
    column : str
        Of any table (`*.csv`) of the folder that has the column "image" too; "" for the first of `GROUP_TABLES`.

    Raises
    ------
    ValueError
        If no table has the column, one that is named after its groups lacks theirs, or one cannot be read.
    """
    if not column:
        for name, (own, _) in GROUP_TABLES.items():
            if is_there(path := folder / name):
                rows = read_table(path, IMAGE, also=[own])
                if rows and own in rows[0]:
                    return Groups(_by_image(rows, own))
                # The licences may do without; of the others nothing would be left.
                if rows and name.startswith(own):
                    raise ValueError(
                        f"{shown(path)} lacks the column {own!r}, by which images are grouped; it has "
                        f"{', '.join(shown(name, 40) for name in rows[0])}. Give the column that name, or say which it "
                        "is (--group-column, or group_column in the recipe)."
                    )
        return Groups({})
    for path in sorted(path for path in folder.glob("*.csv") if not is_system_file(path)):
        rows = read_table(path, also=[IMAGE, column])
        if rows and {IMAGE, column} <= rows[0].keys():
            return Groups(_by_image(rows, column), named=True)
    raise ValueError(f"No table in {folder} has the columns 'image' and {column!r}.")


def _by_image(rows: Iterable[Mapping[str, str]], column: str) -> dict[str, str]:
    kind = _KINDS.get(column, column)
    return {row[IMAGE]: f"{kind} {row[column]}" for row in rows if row[column]}
