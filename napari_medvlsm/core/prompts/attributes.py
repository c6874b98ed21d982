"""What a prompt can say about a target, and a prompt with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

LEVELS = ("p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9")


@dataclass(frozen=True)
class Attributes:
    """The fourteen attributes of the paper; an empty string says nothing about one.

    Attributes
    ----------
    target : str
        The phrase of a `Target`.
    number : str
        A number word, "many", or "zero" where there is no such thing in the image.
    size, location : str
        One word or several, joined by ", "; a location is a side of the image as shown, never of the patient.
    color, shape : str
    general : str
        A general description that completes "which is ...".
    view : str
        Of the heart ("two-chamber") or of the chest ("frontal").
    cycle, sex, age, quality : str
        Of a heart ultrasound: "diastole" or "systole"; "female" or "male"; years in words; "good", "medium", "poor".
    tumor_type : str
        "benign" or "malignant".
    findings : str
        Findings of the whole X-ray, joined by ", ".
    """

    target: str = ""
    number: str = ""
    size: str = ""
    color: str = ""
    shape: str = ""
    location: str = ""
    general: str = ""
    view: str = ""
    cycle: str = ""
    sex: str = ""
    age: str = ""
    quality: str = ""
    tumor_type: str = ""
    findings: str = ""

    def named(self) -> frozenset[str]:
        """The names of the attributes, target aside, that are filled in."""
        return frozenset(name for name in ATTRIBUTES if getattr(self, name))

    def only(self, names: frozenset[str]) -> Attributes:
        """The target and the attributes in `names`."""
        return Attributes(self.target, **{name: getattr(self, name) for name in names})


ATTRIBUTES = tuple(f.name for f in fields(Attributes) if f.name != "target")
# Attributes that can hold several words, joined by ", ".
LISTS = frozenset({"size", "location", "findings"})
# The attributes in the words of the interface.
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "number": "number",
        "size": "size",
        "color": "colour",
        "shape": "shape",
        "location": "place in the image",
        "general": "general description",
        "view": "view",
        "cycle": "heart cycle",
        "sex": "sex",
        "age": "age",
        "quality": "image quality",
        "tumor_type": "type of tumor",
        "findings": "other findings",
    }
)


@dataclass(frozen=True)
class Prompt:
    """A text for the model and where it came from.

    Attributes
    ----------
    text : str
    level : str
        "p0" to "p9" for a template, "free" for a text that a person typed.
    attributes : Attributes
        Those the text says; of a typed text, those that were recognised.
    vocabulary_version : str
    measured : tuple of str
        Names of attributes that were read from a mask rather than said by a person.
    """

    text: str
    level: str
    attributes: Attributes = Attributes()
    vocabulary_version: str = ""
    measured: tuple[str, ...] = ()
