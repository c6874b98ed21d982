"""The prompts of a case, kept apart by what they are allowed to know.

A location, size or number in a prompt that was read from the true mask gives part of the answer away. Such prompts are
oracles: they tell what attributes could bring at best, and their numbers never stand for those of a name alone.

Three kinds ask whether a model follows the text: the same in words that training never used (`paraphrases.yaml`),
another target that the image shows, and what such an image cannot show.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from medvlsm_training.config import INTERFACE, RANDOM, UPSTREAM
from medvlsm_training.evaluation.data import EvaluationCase
from medvlsm_training.prompting import worded
from napari_medvlsm.core.datasets.items import Mask
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import LEVELS, Attributes, Vocabulary, build
from napari_medvlsm.core.prompts.upstream import Dataset, upstream_prompts
from napari_medvlsm.core.prompts.variants import opposite_side, opposite_size
from napari_medvlsm.core.runs.prompt_kinds import PromptKind


@dataclass(frozen=True)
class EvaluationPrompts:
    """Which prompts to evaluate.

    Attributes
    ----------
    kinds : tuple of PromptKind
    levels : tuple of str
        Of oracle and wrong prompts: "p0" to "p9", or "random": for each case one of its levels but P0, as upstream
        trains and tests its pools.
    wording : str
        "interface", or "upstream": the paper's to the letter, and in other sets what their annotation files hold.
    typed : str
        The text of `PromptKind.TYPED`.
    seed : int
        Of the choice from upstream's lists of sentences.
    annotated : bool
        Ask oracle and wrong prompts only where there are annotations, not from masks alone.
    """

    kinds: tuple[PromptKind, ...] = (PromptKind.CLASS,)
    levels: tuple[str, ...] = ("p6",)
    wording: str = INTERFACE
    typed: str = ""
    seed: int = 0
    annotated: bool = False

    def __post_init__(self) -> None:
        if unknown := {*self.levels} - {*LEVELS, RANDOM}:
            raise ValueError(f"The levels are {LEVELS[0]} to {LEVELS[-1]} and {RANDOM}, but not {min(unknown)!r}.")
        if PromptKind.TYPED in self.kinds and not self.typed.strip():
            raise ValueError("A typed prompt was asked for, but there is none; give it with --prompt.")


@dataclass(frozen=True)
class EvaluationPrompt:
    """One prompt of a case. `absent` names what it asks for where that is nothing which the image can show."""

    kind: PromptKind
    level: str
    text: str
    absent: str = ""


@cache
def paraphrases() -> Mapping[str, tuple[str, ...]]:
    """Ways of asking for each target that no shipped recipe trains with: `paraphrases.yaml`."""
    raw = yaml.safe_load((Path(__file__).parent / "paraphrases.yaml").read_text("utf-8"))
    return {target: tuple(texts) for target, texts in raw.items()}


def evaluation_prompts(
    case: EvaluationCase,
    truth: Mask,
    wanted: EvaluationPrompts,
    vocabulary: Vocabulary,
    dataset: Dataset | None = None,
    shown: Collection[str] = (),
) -> list[EvaluationPrompt]:
    """The prompts of a case. A wrong attribute is asked only where the right prompt says it and it has an opposite.

    Parameters
    ----------
    case : EvaluationCase
    truth : array of shape (H, W)
        The true mask, from which a set without annotations takes its attributes.
    wanted : EvaluationPrompts
    vocabulary : Vocabulary
    dataset : Dataset, optional
        The data set of the paper; without it the wording is always that of the interface.
    shown : collection of str
        Targets that such scans show in the whole set (`DataSet.shown`): these are not asked for as absent.
    """
    theirs = wanted.wording == UPSTREAM and dataset is not None
    asked = []
    if PromptKind.CLASS in wanted.kinds:
        name = _upstream_name(dataset, case.target) if theirs and dataset else _plain(case.target, vocabulary)
        asked.append(EvaluationPrompt(PromptKind.CLASS, "p1", name))
    if PromptKind.TYPED in wanted.kinds:
        asked.append(EvaluationPrompt(PromptKind.TYPED, "free", wanted.typed))
    if PromptKind.ANNOTATED in wanted.kinds:
        asked += _annotated(case, wanted, PromptKind.ANNOTATED)
    asked += _follows_text(case, truth, wanted, vocabulary, shown)
    if wanted.annotated and not case.prompts:
        return asked
    if wanted.wording == UPSTREAM and dataset is None and case.prompts:  # nobody knows the wrong ones of such texts
        return asked + (_annotated(case, wanted, PromptKind.ORACLE) if PromptKind.ORACLE in wanted.kinds else [])
    known = case.upstream or replace(
        case.annotation.attributes, target=case.target, **describe(truth, suggest=False).measured
    )
    for level in wanted.levels:
        writer = _PromptWriter(case, wanted, vocabulary, dataset if theirs else None, level)
        right = writer.text(known)
        if right is None:
            continue
        if PromptKind.ORACLE in wanted.kinds:
            asked.append(EvaluationPrompt(PromptKind.ORACLE, level, right))
        for kind, changed in _contradicted(known):
            wrong = writer.text(changed) if kind in wanted.kinds else None
            if wrong is not None and wrong != right:
                asked.append(EvaluationPrompt(kind, level, wrong))
    return asked


def _annotated(case: EvaluationCase, wanted: EvaluationPrompts, kind: PromptKind) -> list[EvaluationPrompt]:
    """What the annotation file says at each level."""
    asked = []
    for level in wanted.levels:
        at = _pick([name for name in case.prompts if name != "p0"], "level", case, wanted) if level == RANDOM else level
        text = case.prompts.get(at)
        if text is not None:
            chosen = text if isinstance(text, str) else _pick(text, at, case, wanted)
            asked.append(EvaluationPrompt(kind, level, chosen))
    return asked


def _follows_text(
    case: EvaluationCase, truth: Mask, wanted: EvaluationPrompts, vocabulary: Vocabulary, shown: Collection[str]
) -> list[EvaluationPrompt]:
    """The prompts of which there can be several."""
    asked = []
    if PromptKind.PARAPHRASE in wanted.kinds:
        asked += [EvaluationPrompt(PromptKind.PARAPHRASE, "p1", text) for text in paraphrases().get(case.target, ())]
    if PromptKind.OTHER in wanted.kinds and truth.any():
        apart = [other.target for other in case.others if _apart(truth, other.load_mask())]
        asked += [EvaluationPrompt(PromptKind.OTHER, "p1", _plain(target, vocabulary)) for target in apart]
    if PromptKind.ABSENT in wanted.kinds and case.first:
        there = {case.target, *(other.target for other in case.others), *shown}
        absent = vocabulary.cannot_show(case.modality, there)
        asked += [EvaluationPrompt(PromptKind.ABSENT, "p1", text, text) for text in absent]
    return asked


def _apart(mask: Mask, other: Mask) -> bool:
    """Whether two masks are of two things: neither lies mostly in the other, as a lung does in both lungs."""
    smaller = min(int(mask.sum()), int(other.sum()))
    return mask.shape == other.shape and 2 * int((mask & other).sum()) < smaller


def _contradicted(known: Attributes) -> list[tuple[PromptKind, Attributes]]:
    side, size = opposite_side(known.location), opposite_size(known.size)
    changed = []
    if side:
        changed.append((PromptKind.WRONG_SIDE, replace(known, location=side)))
    if size:
        changed.append((PromptKind.WRONG_SIZE, replace(known, size=size)))
    return changed


@dataclass(frozen=True)
class _PromptWriter:
    """Puts the attributes of a case into words, the same way for right and wrong ones."""

    case: EvaluationCase
    wanted: EvaluationPrompts
    vocabulary: Vocabulary
    dataset: Dataset | None
    level: str

    def text(self, attributes: Attributes) -> str | None:
        """The prompt; None where the kind of scan has no such level."""
        return self._interfaces(attributes) if self.dataset is None else self._upstreams(self.dataset, attributes)

    def _upstreams(self, dataset: Dataset, attributes: Attributes) -> str | None:
        prompts = self.case.prompts if attributes == self.case.upstream else upstream_prompts(dataset, attributes)
        level = self._level([name for name in prompts if name != "p0"])
        text = prompts.get(level)
        return text if text is None or isinstance(text, str) else self._pick(text, level)

    def _interfaces(self, attributes: Attributes) -> str | None:
        level = self._level(list(self.vocabulary.family(attributes.target).levels))
        words = {k: self.vocabulary.canonical(k, v) for k, v in vars(attributes).items() if k != "target" and v}
        if words.get("number") == "zero":  # nobody at the panel writes that there is no such thing
            words = {}
        return worded(
            Attributes(attributes.target, **words), level, self.vocabulary, lambda some: self._pick(some, level)
        )

    def _level(self, known: Sequence[str]) -> str:
        return self._pick(known, "level") if self.level == RANDOM else self.level

    def _pick(self, choices: Sequence[str], what: str) -> str:
        return _pick(choices, what, self.case, self.wanted)


def _pick(choices: Sequence[str], what: str, case: EvaluationCase, wanted: EvaluationPrompts) -> str:
    # By name, so that a case gets the same sentence whatever else is asked.
    return random.Random(f"{wanted.seed} {case.name} {what}").choice(choices)


def _plain(target: str, vocabulary: Vocabulary) -> str:
    return build(Attributes(target), vocabulary, "p1").text


def _upstream_name(dataset: Dataset, target: str) -> str:
    """Upstream's P1 of a case that shows the target: of one that does not, it would tell that there is nothing."""
    name = dataset.family.upstream_names.get(target, target)
    return dataset.family.upstream_forms("p1")[0].fill({"target": name, "targets": name})
