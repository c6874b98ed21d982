"""What a picture's header says beside its pixels: tags of TIFF and EXIF, texts of PNG. No pixel is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import ExifTags

from napari_medvlsm.core.io.pictures import common
from napari_medvlsm.core.io.pictures.decode import sentence
from napari_medvlsm.core.io.pictures.formats import TIFF, display_name, format_of, read_head, refusal
from napari_medvlsm.core.io.pictures.tiff_directories import first_directory

_EXIF_IFD = 0x8769


def read_header(path: Path) -> dict[str, Any]:
    """The fields of a picture's header by their names in small letters, such as "artist" or "imagedescription".

    Raises
    ------
    ValueError
        With one sentence, if the file is no picture of a kind that is opened here, or damaged.
    """
    head = read_head(path)
    kind = format_of(head)
    if not kind:
        raise ValueError(refusal(path, head))
    try:
        return _tiff_fields(path) if kind == TIFF else _other_fields(path, kind)
    except Exception as error:  # a damaged file makes the decoders raise nearly anything
        raise ValueError(sentence(display_name(path), error)) from error


def _tiff_fields(path: Path) -> dict[str, Any]:
    import tifffile

    with path.open("rb") as file:
        found = first_directory(file, path.stat().st_size, every_tag=True).tags
    names = tifffile.TIFF.TAGS
    return {str(names.get(code, code)).lower(): _single(value) for code, value in found.items()}


def _other_fields(path: Path, kind: str) -> dict[str, Any]:
    with common.opened(path, kind) as image:
        exif = image.getexif()
        tags = dict(exif.get_ifd(_EXIF_IFD)) | dict(exif)
        texts = {str(key): value for key, value in image.info.items() if isinstance(value, str | int | float)}
    named = {ExifTags.TAGS.get(code, str(code)): value for code, value in tags.items()}
    return {name.lower(): value for name, value in (named | texts).items()}


def _single(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value
