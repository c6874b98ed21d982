"""The description of a mask, and the words it uses."""

from __future__ import annotations

from dataclasses import dataclass

SIZE_WORDS = ("tiny", "small", "medium", "large")
# Beside a part, others of at most this share of its area are stray pixels, not further objects: a convention.
CRUMB_FRACTION = 0.02
# Fractions of the image between which each size lies (upstream: f < 0.001 tiny, f > 0.08 medium, f > 0.30 large).
SIZE_RANGES = {"tiny": (0.0, 0.001), "small": (0.001, 0.08), "medium": (0.08, 0.30), "large": (0.30, 1.0)}
CELLS = (("top left", "top", "top right"), ("left", "center", "right"), ("bottom left", "bottom", "bottom right"))
MANY = "many"
# The clean rule counts in words up to ten: more are not counted at a glance.
COUNTED = 10
# The largest number that `number_word` knows.
NAMED = 999
# Places and sizes of single parts are kept for this many, the largest: noise has hundreds of thousands.
PARTS = 100


@dataclass(frozen=True)
class Description:
    """The description of a mask.

    `number`, `size` and `location` are measured. `shape` and `color` are suggestions: a person may well choose another
    word, so they are never held against anybody. An empty string says nothing.

    Attributes
    ----------
    number : str
        In words; "zero" when the mask is empty, and everything else is empty then.
    size, location : str
        One or several words joined by ", ".
    shape : str
        One of `SHAPE_WORDS` for the largest part, or empty.
    color : str
        One of `COLOR_WORDS`, or empty.
    fraction : float
        Area of all parts counted, as a fraction of the image.
    parts : tuple of float
        Area of each part (of the 100 largest) as a fraction of the image, largest first.
    """

    number: str
    size: str = ""
    location: str = ""
    shape: str = ""
    color: str = ""
    fraction: float = 0.0
    parts: tuple[float, ...] = ()

    @property
    def measured(self) -> dict[str, str]:
        """The attributes that follow from the mask alone."""
        return {"number": self.number, "size": self.size, "location": self.location}

    @property
    def suggested(self) -> dict[str, str]:
        """The attributes that are a matter of opinion."""
        return {"shape": self.shape, "color": self.color}
