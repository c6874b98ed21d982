"""One annotation: an outline of one target in one scan, with everything that a person said and decided about it.

`dumps` and `loads` are the one serialiser, used wherever the program keeps a mask: label TIFF and PNG, autosave, and
training folders. The mask itself is kept beside the record, in the format of each place.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from napari_medvlsm import __version__
from napari_medvlsm.core.masks import Cleanup, Mask
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.prompts.attributes import Attributes, Prompt
from napari_medvlsm.core.validation_errors import first_problem

SCHEMA = "napari-medvlsm annotation"
# 1: the label files of 0.1.0 and of the development versions after it, which did not name a version.
SCHEMA_VERSION = 2
_SOFTWARE = "napari-medvlsm"
_CORRECTED_IN_1 = "correction by a person"
# A packed prediction may not claim more pixels than a scan that can be opened (`core.io.images.MAX_PIXELS`).
_MOST_PIXELS = 2**30


@dataclass(frozen=True)
class Provenance:
    """Where a mask comes from. No file name and no patient data: the scan is named by the hash of its pixels.

    Attributes
    ----------
    scan_hash : str
        `core.images.content_hash` of the scan's pixels.
    scan_size : (int, int) or None
        Rows and columns.
    spacing : (float, float) or None
        Millimetres per pixel as (row, col); None where unknown.
    spacing_from : str
        How a person came to the spacing, such as "entered by hand"; "" where it is the file's.
    prompt : Prompt or None
        What the model was asked; None where a person outlined without the model.
    vocabulary_version, vocabulary_hash : str
        `Vocabulary.version` and `Vocabulary.digest` of the words that were in use.
    model, weights_hash : str
        Name of the model and SHA-256 of its weights; "" without a model.
    threshold : float or None
        Probability (0 to 1) from which a pixel belonged to the mask.
    cleanup : Cleanup
    options : SegmentOptions
        Where the model looked.
    author : str
        Who outlined it, as that person entered it; "" where nothing was entered.
    created : datetime or None
        When the mask got its present form, with time zone.
    seconds : float
        Time in which the person worked on the outline; longer pauses are not part of it.
    strokes : int
        Brush strokes, fills, erasures and other changes of the person.
    clicks : int
        How often the person pointed at what belongs to the outline, or does not, to refine it.
    software : str
        Name and version of the program that wrote it.
    """

    scan_hash: str = ""
    scan_size: tuple[int, int] | None = None
    spacing: tuple[float, float] | None = None
    spacing_from: str = ""
    prompt: Prompt | None = None
    vocabulary_version: str = ""
    vocabulary_hash: str = ""
    model: str = ""
    weights_hash: str = ""
    threshold: float | None = None
    cleanup: Cleanup = field(default_factory=Cleanup)
    options: SegmentOptions = WHOLE_SCAN
    author: str = ""
    created: datetime | None = None
    seconds: float = 0.0
    strokes: int = 0
    clicks: int = 0
    software: str = ""

    def __post_init__(self) -> None:
        if self.spacing is not None and not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"The pixel spacing must be two positive numbers in mm, but is {self.spacing}.")


@dataclass(frozen=True, eq=False)
class Annotation:
    """An outline of one target in one scan.

    Attributes
    ----------
    target : str
        Phrase of the vocabulary, or the person's own words where it knows none.
    mask : bool array of shape (H, W)
        Of the scan's size.
    corrected : bool
        Whether a person drew, changed or confirmed it; False for an untouched prediction.
    absent : bool
        The person's answer that the scan does not show the target. The mask is empty then; an empty mask alone is no
        such answer.
    said : Attributes
        What the person said of the target.
    measured : Attributes
        What was read from the mask and the pixels.
    provenance : Provenance
    prediction : bool array of shape (H, W) or None
        The model's untouched mask that the outline began from; None where it began without one.
    """

    target: str
    mask: Mask
    corrected: bool = False
    absent: bool = False
    said: Attributes = field(default_factory=Attributes)
    measured: Attributes = field(default_factory=Attributes)
    provenance: Provenance = field(default_factory=Provenance)
    prediction: Mask | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 2:
            raise ValueError(f"A mask must be 2D, but has shape {self.mask.shape}.")
        if self.absent and self.mask.any():
            raise ValueError(f"{self.target!r} was marked as absent, but the mask holds foreground.")
        if self.prediction is not None and self.prediction.shape != self.mask.shape:
            raise ValueError(
                f"The prediction is {self.prediction.shape} but the mask {self.mask.shape}; they must have one size."
            )


def new_provenance(**values: Any) -> Provenance:
    """A `Provenance` written by this version of the program, now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return replace(Provenance(created=now, software=f"{_SOFTWARE} {__version__}"), **values)


def dumps(annotation: Annotation, revision: int = 0) -> str:
    """All of an annotation but its mask, as one line of JSON in ASCII. Values that are as by default are left out.

    `revision`, where it is not 0, goes along: the greater it is, the later the state was stored.
    """
    record = to_dict(annotation) | ({"revision": revision} if revision else {})
    # tifffile, and with it napari, takes a TIFF's description with '"shape":' in it for a record of its own and refuses
    # the file; an attribute has that name. A space before the colon keeps it from doing so.
    return json.dumps(record, allow_nan=False, separators=(", ", " : "))


def loads(text: str, mask: Mask) -> Annotation:
    """The annotation of a record, in any version of the schema, and its mask.

    Raises
    ------
    ValueError
        If the text is no record, is damaged, or is of a newer version of the schema; one sentence.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"This is not an annotation record ({error}).") from error
    return from_dict(raw, mask)


def to_dict(annotation: Annotation) -> dict[str, Any]:
    """The record as plain values for JSON; see `dumps`."""
    prediction = None if annotation.prediction is None else _packed(annotation.prediction)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "target": annotation.target,
        "corrected": annotation.corrected,
        "absent": annotation.absent,
        "said": _plain(_ATTRIBUTES, annotation.said),
        "measured": _plain(_ATTRIBUTES, annotation.measured),
        "provenance": _plain(_PROVENANCE, annotation.provenance),
        "prediction": prediction,
    }


def from_dict(raw: object, mask: Mask) -> Annotation:
    """The annotation of a record that was read from JSON, and its mask; errors as `loads`."""
    if not isinstance(raw, Mapping) or not is_record(raw):
        raise ValueError("This is not an annotation record.")
    version = raw.get("schema_version", 1)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(
            f"The annotation record has schema version {version!r}, but this program knows versions up to "
            f"{SCHEMA_VERSION}; update napari-medvlsm."
        )
    try:
        if version == 1:
            return _from_version_1(raw, mask)
        prediction = raw.get("prediction")
        return Annotation(
            target=_TEXT.validate_python(raw["target"]),
            mask=mask,
            corrected=_FLAG.validate_python(raw["corrected"]),
            absent=_FLAG.validate_python(raw["absent"]),
            said=_ATTRIBUTES.validate_python(raw.get("said", {})),
            measured=_ATTRIBUTES.validate_python(raw.get("measured", {})),
            provenance=_PROVENANCE.validate_python(raw.get("provenance", {})),
            prediction=None if prediction is None else _unpacked(prediction),
        )
    except ValidationError as error:
        raise ValueError(f"The annotation record is damaged ({first_problem(error)}).") from error
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"The annotation record is damaged ({type(error).__name__}: {error}).") from error


def is_record(raw: object) -> bool:
    """Whether values read from JSON are an annotation record of this program, of whatever version."""
    if not isinstance(raw, Mapping):
        return False
    return raw.get("schema") == SCHEMA or str(raw.get("software", "")).startswith(_SOFTWARE)


def record_target(raw: object) -> str:
    """The target that a record names, without its mask; "" where it names none, or is no record."""
    if not isinstance(raw, Mapping) or not is_record(raw):
        return ""
    return str(raw.get("target") or "")


def record_revision(raw: object) -> int:
    """The revision that a record was stored with; 0 without one."""
    revision = raw.get("revision") if isinstance(raw, Mapping) else None
    return revision if isinstance(revision, int) and 0 < revision < 2**53 else 0


def is_corrected(raw: object) -> bool:
    """Whether a record says that a person drew, changed or confirmed the mask."""
    return isinstance(raw, Mapping) and is_record(raw) and (bool(raw.get("corrected")) or _corrected_in_1(raw))


_ATTRIBUTES = TypeAdapter(Attributes)
_PROVENANCE = TypeAdapter(Provenance)
_TEXT = TypeAdapter(str)
_FLAG = TypeAdapter(bool)


def _plain(adapter: TypeAdapter[Any], value: object) -> Any:
    return adapter.dump_python(value, mode="json", exclude_defaults=True)


def _packed(mask: Mask) -> dict[str, Any]:
    """A mask as bits, row by row (the highest bit of a byte first), compressed by zlib, in base64."""
    bits = zlib.compress(np.packbits(mask).tobytes(), 9)
    return {"shape": list(mask.shape), "zlib_bits": base64.b64encode(bits).decode("ascii")}


def _unpacked(raw: Mapping[str, Any]) -> Mask:
    rows, columns = (int(n) for n in raw["shape"])
    if rows < 0 or columns < 0 or rows * columns > _MOST_PIXELS:
        raise ValueError(f"The annotation record is damaged (a prediction of {rows} x {columns} pixels).")
    length = -(-rows * columns // 8)
    try:
        # Never more bytes than the shape asks for, whatever the data claim.
        bits = zlib.decompressobj().decompress(base64.b64decode(raw["zlib_bits"], validate=True), length + 1)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"The annotation record is damaged (prediction: {error}).") from error
    if len(bits) != length:
        raise ValueError("The annotation record is damaged (the prediction has another size than it says).")
    found = np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * columns)
    return found.reshape(rows, columns).astype(bool)


def _corrected_in_1(raw: Mapping[str, Any]) -> bool:
    return raw.get("made") == _CORRECTED_IN_1


def _from_version_1(raw: Mapping[str, Any], mask: Mask) -> Annotation:
    """The label files of 0.1.0 and those until the schema had a version; autosaved ones name their target."""
    asked = raw.get("prompt")
    prompt = None
    said = measured = Attributes()
    if asked is not None:
        every = _ATTRIBUTES.validate_python(asked.get("attributes", {}))
        names = tuple(str(name) for name in asked.get("measured", ()))
        prompt = Prompt(str(asked["text"]), str(asked["level"]), every, str(asked.get("vocabulary", "")), names)
        from_mask = every.named() & {*names}
        said, measured = every.only(every.named() - from_mask), every.only(from_mask)
    looked_at = raw.get("looked_at")
    names = raw.get("cleanup") or ()
    created, spacing = raw.get("created"), raw.get("spacing_mm")
    plain = {
        "scan_hash": raw.get("scan_hash", ""),
        "scan_size": mask.shape,
        "spacing": None if spacing is None else tuple(spacing),
        "prompt": prompt,
        "vocabulary_version": prompt.vocabulary_version if prompt else "",
        "model": raw.get("model") or "",
        "threshold": raw.get("threshold"),
        "cleanup": Cleanup(**{str(name): True for name in names}),
        "options": SegmentOptions.from_message(looked_at) if isinstance(looked_at, Mapping) else WHOLE_SCAN,
        "created": created,
        "software": raw.get("software", ""),
    }
    target = raw.get("target") or (prompt.attributes.target or prompt.text if prompt else "")
    corrected = _corrected_in_1(raw)
    return Annotation(str(target), mask, corrected, False, said, measured, _PROVENANCE.validate_python(plain))
