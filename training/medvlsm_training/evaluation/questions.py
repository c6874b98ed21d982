"""The prompts of a case, kept apart by what they are allowed to know.

A location, size or number in a prompt that was read from the true mask gives part of the answer away. Such prompts are
oracles: they tell what attributes could bring at best, and their numbers never stand for those of a name alone.

Three kinds ask whether a model listens: the same in words that training never used (`paraphrases.yaml`), another target
that the image shows, and what such an image cannot show.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from medvlsm_training.config import INTERFACE, RANDOM, UPSTREAM
from medvlsm_training.evaluation.data import Case
from medvlsm_training.prompting import worded
from napari_medvlsm.core.datasets.items import Mask
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import LEVELS, Attributes, Vocabulary, build
from napari_medvlsm.core.prompts.upstream import Dataset, upstream_prompts
from napari_medvlsm.core.prompts.variants import opposite_side, opposite_size


class Kind(enum.Enum):
    """What a prompt knows; `facts` says where its attributes come from."""

    CLASS = "class"
    TYPED = "typed"
    ORACLE = "oracle"
    WRONG_SIDE = "wrong side"
    WRONG_SIZE = "wrong size"
    PARAPHRASE = "paraphrase"
    OTHER = "other"
    ABSENT = "absent"

    @property
    def several(self) -> bool:
        """Whether a case can be asked several prompts of this kind, each of which counts."""
        return self in (Kind.PARAPHRASE, Kind.OTHER, Kind.ABSENT)

    @property
    def facts(self) -> str:
        """Where the attributes come from."""
        return {
            "class": "none, the name alone",
            "typed": "a person's words, the same for every case",
            "oracle": "the annotations, made from the true mask",
            "wrong side": "the annotations, made from the true mask, with the opposite side",
            "wrong size": "the annotations, made from the true mask, with a size far from the true one",
            "paraphrase": "none, the target in words that no shipped recipe trains with (each case with each of them)",
            "other": "none, the name of another target that the image shows, held against the mask of the first: "
            "little of that should be drawn",
            "absent": "none, the name of what such a scan cannot show, asked once an image: nothing should be drawn",
        }[self.value]


@dataclass(frozen=True)
class Wishes:
    """What to ask.

    Attributes
    ----------
    kinds : tuple of Kind
    levels : tuple of str
        Of oracle and wrong prompts: "p0" to "p9", or "random": for each case one of its levels but P0, as upstream
        trains and tests its pools.
    wording : str
        "interface", or "release" for the paper's to the letter (its sets only).
    typed : str
        The text of `Kind.TYPED`.
    seed : int
        Picks from the release's lists of sentences.
    annotated : bool
        Ask oracle and wrong prompts only where there are annotations, not from masks alone.
    """

    kinds: tuple[Kind, ...] = (Kind.CLASS,)
    levels: tuple[str, ...] = ("p6",)
    wording: str = INTERFACE
    typed: str = ""
    seed: int = 0
    annotated: bool = False

    def __post_init__(self) -> None:
        if unknown := {*self.levels} - {*LEVELS, RANDOM}:
            raise ValueError(f"The levels are {LEVELS[0]} to {LEVELS[-1]} and {RANDOM}, but not {min(unknown)!r}.")
        if Kind.TYPED in self.kinds and not self.typed.strip():
            raise ValueError("A typed prompt was asked for, but there is none; give it with --prompt.")


@dataclass(frozen=True)
class Question:
    """One prompt of a case. `absent` names what it asks for where that is nothing which the image can show."""

    kind: Kind
    level: str
    text: str
    absent: str = ""


@cache
def paraphrases() -> Mapping[str, tuple[str, ...]]:
    """Ways of asking for each target that no shipped recipe trains with: `paraphrases.yaml`."""
    raw = yaml.safe_load((Path(__file__).parent / "paraphrases.yaml").read_text("utf-8"))
    return {target: tuple(texts) for target, texts in raw.items()}


def questions(
    case: Case, truth: Mask, wishes: Wishes, vocabulary: Vocabulary, dataset: Dataset | None = None
) -> list[Question]:
    """The prompts of a case. A wrong attribute is asked only where the right prompt says it and it has an opposite.

    Parameters
    ----------
    case : Case
    truth : array of shape (H, W)
        The true mask, from which a set without annotations takes its attributes.
    wishes : Wishes
    vocabulary : Vocabulary
    dataset : Dataset, optional
        The data set of the paper; without it the wording is always that of the interface.
    """
    released = wishes.wording == UPSTREAM and dataset is not None
    asked = []
    if Kind.CLASS in wishes.kinds:
        name = _release_name(dataset, case.target) if released and dataset else _plain(case.target, vocabulary)
        asked.append(Question(Kind.CLASS, "p1", name))
    if Kind.TYPED in wishes.kinds:
        asked.append(Question(Kind.TYPED, "free", wishes.typed))
    asked += _whether_it_listens(case, truth, wishes, vocabulary)
    if wishes.annotated and not case.prompts:
        return asked
    known = case.upstream or replace(case.annotation.attributes, target=case.target, **describe(truth).measured)
    for level in wishes.levels:
        said = _Sayer(case, wishes, vocabulary, dataset if released else None, level)
        right = said.text(known)
        if right is None:
            continue
        if Kind.ORACLE in wishes.kinds:
            asked.append(Question(Kind.ORACLE, level, right))
        for kind, changed in _falsified(known):
            wrong = said.text(changed) if kind in wishes.kinds else None
            if wrong is not None and wrong != right:
                asked.append(Question(kind, level, wrong))
    return asked


def _whether_it_listens(case: Case, truth: Mask, wishes: Wishes, vocabulary: Vocabulary) -> list[Question]:
    """The prompts of which there can be several."""
    asked = []
    if Kind.PARAPHRASE in wishes.kinds:
        asked += [Question(Kind.PARAPHRASE, "p1", text) for text in paraphrases().get(case.target, ())]
    if Kind.OTHER in wishes.kinds and truth.any():
        apart = [other.target for other in case.others if _apart(truth, other.load_mask())]
        asked += [Question(Kind.OTHER, "p1", _plain(target, vocabulary)) for target in apart]
    if Kind.ABSENT in wishes.kinds and case.first and case.modality in vocabulary.modalities:
        asked += [Question(Kind.ABSENT, "p1", text, text) for text in vocabulary.modalities[case.modality].absent]
    return asked


def _apart(mask: Mask, other: Mask) -> bool:
    """Whether two masks are of two things: neither lies mostly in the other, as a lung does in both lungs."""
    smaller = min(int(mask.sum()), int(other.sum()))
    return mask.shape == other.shape and 2 * int((mask & other).sum()) < smaller


def _falsified(facts: Attributes) -> list[tuple[Kind, Attributes]]:
    side, size = opposite_side(facts.location), opposite_size(facts.size)
    changed = []
    if side:
        changed.append((Kind.WRONG_SIDE, replace(facts, location=side)))
    if size:
        changed.append((Kind.WRONG_SIZE, replace(facts, size=size)))
    return changed


@dataclass(frozen=True)
class _Sayer:
    """Puts the attributes of a case into words, the same way for right and wrong ones."""

    case: Case
    wishes: Wishes
    vocabulary: Vocabulary
    dataset: Dataset | None
    level: str

    def text(self, facts: Attributes) -> str | None:
        """The prompt; None where the kind of scan has no such level."""
        return self._cleanly(facts) if self.dataset is None else self._as_released(self.dataset, facts)

    def _as_released(self, dataset: Dataset, facts: Attributes) -> str | None:
        prompts = self.case.prompts if facts == self.case.upstream else upstream_prompts(dataset, facts)
        level = self._level([name for name in prompts if name != "p0"])
        text = prompts.get(level)
        return text if text is None or isinstance(text, str) else self._pick(text, level)

    def _cleanly(self, facts: Attributes) -> str | None:
        level = self._level(list(self.vocabulary.family(facts.target).levels))
        words = {k: self.vocabulary.canonical(k, v) for k, v in vars(facts).items() if k != "target" and v}
        if words.get("number") == "zero":  # nobody at the panel writes that there is no such thing
            words = {}
        return worded(Attributes(facts.target, **words), level, self.vocabulary, lambda some: self._pick(some, level))

    def _level(self, known: Sequence[str]) -> str:
        return self._pick(known, "level") if self.level == RANDOM else self.level

    def _pick(self, choices: Sequence[str], what: str) -> str:
        # By name, so that a case gets the same sentence whatever else is asked.
        return random.Random(f"{self.wishes.seed} {self.case.name} {what}").choice(choices)


def _plain(target: str, vocabulary: Vocabulary) -> str:
    return build(Attributes(target), vocabulary, "p1").text


def _release_name(dataset: Dataset, target: str) -> str:
    """The release's P1 of a case that shows the target: of one that does not, it would tell that there is nothing."""
    name = dataset.family.upstream_names.get(target, target)
    return dataset.family.upstream_forms("p1")[0].fill({"target": name, "targets": name})
