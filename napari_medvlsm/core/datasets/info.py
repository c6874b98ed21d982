"""`dataset.yaml`: the metadata of a data set's folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.mask_files import Foreground, check_rule
from napari_medvlsm.core.plain_files import is_there, read_yaml
from napari_medvlsm.core.validation_errors import first_problem

INFO_FILE = "dataset.yaml"
SCHEMA_VERSION = 1
_HEADER = """\
# About this data set. Title, licence, citation and modality may be changed; schema_version and salt (from which the
# splits of new cases follow) must stay as they are.
"""


@dataclass(frozen=True)
class DatasetInfo:
    """The metadata of a data set's folder.

    Attributes
    ----------
    title, licence, citation : str
        "" where not stated.
    modality : str
        Key of the vocabulary's modalities, for cases that do not say their own; "" where unknown.
    salt : str
        From which the splits of new cases follow (`splits`).
    foreground : str, int or tuple of int
        What the values of the masks mean; see `source.SourceConfig`.
    schema_version : int
        Of the folder's annotation files.
    """

    title: str = ""
    licence: str = ""
    modality: str = ""
    citation: str = ""
    salt: str = ""
    foreground: Foreground = ""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        check_rule(self.foreground)


_INFO = TypeAdapter(DatasetInfo)


def read_info(folder: Path) -> DatasetInfo | None:
    """What `dataset.yaml` says; None where the folder has none.

    Raises
    ------
    ValueError
        If it is damaged or was written by a newer version of the program.
    """
    path = folder / INFO_FILE
    if not is_there(path):
        return None
    raw = read_yaml(path) or {}
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no description of a data set: keys and values were expected.")
    try:
        # A person may add keys, and leave the value of one empty.
        known = {k: v for k, v in raw.items() if k in DatasetInfo.__dataclass_fields__ and v is not None}
        info = _INFO.validate_python(known)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error).rstrip('.')}.") from error
    if info.schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {info.schema_version}, but this program knows versions up to {SCHEMA_VERSION}; "
            "update napari-medvlsm."
        )
    return info


def _plain(info: DatasetInfo) -> dict[str, object]:
    found = asdict(info)
    if info.foreground == "":
        del found["foreground"]
    elif isinstance(info.foreground, tuple):
        found["foreground"] = list(info.foreground)
    return found


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Write `dataset.yaml`, at once or not at all."""
    with replacing(folder / INFO_FILE) as temporary:
        temporary.write_text(_HEADER + yaml.safe_dump(_plain(info), sort_keys=False, allow_unicode=True), "utf-8")
