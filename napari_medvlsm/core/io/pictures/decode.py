"""A file of a known kind to a raster, in this process; and the words for what can go wrong."""

from __future__ import annotations

from pathlib import Path

from napari_medvlsm.core.io.pictures import common, tiff
from napari_medvlsm.core.io.pictures.formats import TIFF
from napari_medvlsm.core.io.pictures.raster import Raster


def plan(path: Path, kind: str, apart: bool = False) -> common.CommonPlan | tiff.TiffPlan:
    """Look at the structure of a file of a known kind; raises with words that lack its name. `apart` as of `common`."""
    return tiff.plan(path) if kind == TIFF else common.plan(path, kind, apart)


def decode(path: Path, planned: common.CommonPlan | tiff.TiffPlan) -> Raster:
    """Decode what was planned, in this process."""
    return common.decode(path, planned) if isinstance(planned, common.CommonPlan) else tiff.decode(path, planned)


_OUR_STARTS = ("has ", "holds ", "is ", "takes ")


def sentence(name: str, error: Exception) -> str:
    """One sentence with the file's name: our own words as they are, those of a decoder in brackets."""
    said = " ".join(str(error).split())
    if isinstance(error, ValueError) and said.startswith(_OUR_STARTS):
        hint = "" if ";" in said else "; copy it again from where it came, or save it anew"
        return f"{name} {said}{hint}."
    return (
        f"{name} is broken or is no image; open it in another program to check ({said[:300] or type(error).__name__})."
    )
