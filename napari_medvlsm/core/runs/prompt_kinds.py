"""What the prompts of an evaluation know of the true mask."""

from __future__ import annotations

import enum


class PromptKind(enum.Enum):
    """What a prompt may know; `attributes_from` says where its attributes come from."""

    CLASS = "class"
    TYPED = "typed"
    ORACLE = "oracle"
    ANNOTATED = "annotated"
    WRONG_SIDE = "wrong side"
    WRONG_SIZE = "wrong size"
    PARAPHRASE = "paraphrase"
    OTHER = "other"
    ABSENT = "absent"

    @property
    def several(self) -> bool:
        """Whether a case can be asked several prompts of this kind, each of which counts."""
        return self in (PromptKind.PARAPHRASE, PromptKind.OTHER, PromptKind.ABSENT)

    @property
    def attributes_from(self) -> str:
        """Where the attributes come from."""
        return {
            "class": "none, the name alone",
            "typed": "a person's words, the same for every case",
            "oracle": "the annotations, made from the true mask",
            "annotated": "the texts of the annotation file, to the letter",
            "wrong side": "the annotations, made from the true mask, with the opposite side",
            "wrong size": "the annotations, made from the true mask, with a size far from the true one",
            "paraphrase": "none, the target in words that no shipped recipe trains with (each case with each of them)",
            "other": "none, the name of another target that the image shows, compared with the mask of the first: "
            "little of that should be outlined",
            "absent": "none, the name of what such a scan cannot show, asked once an image: the answer should be empty",
        }[self.value]
