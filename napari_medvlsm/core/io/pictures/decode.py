"""A file to a raster: looked at first, then decoded here, or in a process that may die where that could take long."""

from __future__ import annotations

from pathlib import Path

from napari_medvlsm.core.io.pictures import common, tiff
from napari_medvlsm.core.io.pictures.formats import TIFF, display_name, format_of, read_head, refusal
from napari_medvlsm.core.io.pictures.raster import Raster


def read_raster(path: Path) -> Raster:
    """Read a picture, whatever its name ends in.

    Raises
    ------
    ValueError
        With one sentence, if the file is missing, empty, damaged, of another kind, or too large.
    """
    head = read_head(path)
    kind, name = format_of(head), display_name(path)
    if not kind:
        raise ValueError(refusal(path, head))
    try:
        planned = plan(path, kind)
        if planned.bounded:
            return decode(path, planned)
        from napari_medvlsm.core.io.pictures.child import decode_apart

        return decode_apart(path)
    except MemoryError:
        raise ValueError(f"{name} does not fit into this computer's memory.") from None
    except ValueError as error:
        raise ValueError(sentence(name, error)) from error
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(sentence(name, error)) from error


def plan(path: Path, kind: str) -> common.CommonPlan | tiff.TiffPlan:
    """Look at the structure of a file of a known kind; raises as `read_raster`, but with words that lack the name."""
    return tiff.plan(path) if kind == TIFF else common.plan(path, kind)


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
