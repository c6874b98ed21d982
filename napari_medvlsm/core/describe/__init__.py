"""Attributes read back from a mask, and where they disagree with what a person wrote.

Two rules. `describe_upstream` repeats the paper's annotation code, quirks included, so that exported prompts read
like upstream's. `describe` is the clean rule of the interface and of training. Location words are sides of the
image as shown, never the patient's left and right.

`description`     what a mask says, in which words
`components`      a mask taken apart: what both rules count
`upstream`        the paper's rule
`clean`           the clean rule
`shape`           one word for the outline of a part
`color`           one word for the pixels under a mask
`contradictions`  where a person's words disagree with an outline
"""

from napari_medvlsm.core.describe.clean import describe
from napari_medvlsm.core.describe.color import COLOR_WORDS
from napari_medvlsm.core.describe.contradictions import Contradiction, contradictions
from napari_medvlsm.core.describe.description import MANY, SIZE_WORDS, Description
from napari_medvlsm.core.describe.shape import SHAPE_WORDS
from napari_medvlsm.core.describe.upstream import describe_upstream

__all__ = [
    "COLOR_WORDS",
    "MANY",
    "SHAPE_WORDS",
    "SIZE_WORDS",
    "Contradiction",
    "Description",
    "contradictions",
    "describe",
    "describe_upstream",
]
