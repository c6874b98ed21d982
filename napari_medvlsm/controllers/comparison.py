"""How the words change the outline of the scan in view: the effect of each answer, and the ladder on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from psygnal import Signal

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.controllers.scan_work import Result
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.effect import ELSEWHERE, LITTLE, Effect, agreement, compare_size, effect
from napari_medvlsm.core.masks import Bytes, Mask, binarize
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts import Prompt
from napari_medvlsm.core.prompts.english import joined
from napari_medvlsm.core.prompts.variants import Contrast, Variant, contrasts, filled, ladder

_IDLE = (EngineState.READY, EngineState.PREPARING)
# What an outline says is read from at most this many pixels a side: it is only needed for its size and place.
_DESCRIBED_SIDE = 512


@dataclass(frozen=True, eq=False)
class Wording:
    """One wording with its outline, at the comparison's size.

    `text` is the prompt as people read it, `agreement` the Dice with the outline of the person's own words, `place`
    where in the image the outline lies ("" for an empty one).
    """

    title: str
    prompt: Prompt
    text: str
    mask: Mask
    agreement: float
    place: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """All wordings of the prompt in view.

    Attributes
    ----------
    yours : Wording
    rungs : tuple of Wording
        P0 and every level of the target's kind of scan.
    contrasts : tuple of Wording
        Wrong words, and the name alone.
    effect : Effect
    agreement : float
        Mean Dice over all pairs of rungs from P1 on.
    picks : str
        One sentence about what the opposite side outlines; "" where it cannot be said.
    measured : tuple of str
        Attributes that nobody chose and that were read from the outline to fill the ladder.
    """

    yours: Wording
    rungs: tuple[Wording, ...]
    contrasts: tuple[Wording, ...]
    effect: Effect
    agreement: float
    picks: str
    measured: tuple[str, ...]


class Comparer:
    """Asks the engine for other wordings, all on the one encoding of the scan.

    Parameters
    ----------
    session : Session
    """

    effect_changed = Signal()
    compared = Signal(object)  # Comparison
    failed = Signal(str)

    def __init__(self, session: Session) -> None:
        self._session = session
        # Of each target of the scan in view: the result, and the maps of its contrasts at the comparison's size.
        self._maps: dict[str, tuple[Result, Mapping[Contrast, Bytes]]] = {}
        session.scan_changed.connect(self._forget_other_scans)
        session.result_changed.connect(self._on_result)
        session.mask_changed.connect(self.effect_changed.emit)
        self._scan_hash = session.scan_hash

    @property
    def effect(self) -> Effect | None:
        """Of the result that is shown, at its threshold; None while it is not known."""
        result = self._session.result
        if result is None or not self._known(result):
            return None
        maps = self._maps[result.target][1]
        return effect({c: binarize(m, self._session.threshold) for c, m in maps.items()})

    def compare(self) -> None:
        """Ask for the whole ladder and all contrasts; `compared` tells what came."""
        session = self._session
        result, scan, mask = session.result, session.scan, session.mask()
        if result is None or scan is None or mask is None:
            self.failed.emit("Outline something first, then compare how other words would change it.")
            return
        if session.engine.state not in _IDLE:
            self.failed.emit("The model is still at work; compare when it is done.")
            return
        seen = describe(mask, scan.pixels, scan.spacing)
        # An empty outline says nothing about what was asked for.
        words = seen.measured | seen.suggested if mask.any() else {}
        attributes, taken = filled(result.prompt.attributes, words, session.vocabulary)
        measured = tuple(n for n in session.vocabulary.family(attributes.target).attributes if n in taken)
        rungs = ladder(attributes, session.vocabulary) if attributes.target else []
        rungs = [replace(r, measured=tuple(n for n in measured if getattr(r.attributes, n))) for r in rungs]
        variants = self._contrasts(result, seen.measured)
        texts = [*(r.text for r in rungs), *(v.prompt.text for v in variants)]
        threshold = session.threshold
        session.compare(
            texts,
            compare_size(scan.size),
            lambda maps: self._take(result, rungs, variants, maps, threshold, measured),
        )

    def _contrasts(self, result: Result, seen: Mapping[str, str]) -> list[Variant]:
        return contrasts(result.prompt, seen, self._session.vocabulary, result.model.card.targets)

    def _forget_other_scans(self) -> None:
        if self._session.scan_hash != self._scan_hash:
            self._scan_hash = self._session.scan_hash
            self._maps = {}

    def _on_result(self) -> None:
        self.effect_changed.emit()
        self._measure()

    def _measure(self) -> None:
        """Ask for the effect of the answer that is shown, if the engine has nothing better to do."""
        session, result = self._session, self._session.result
        if result is None or session.scan is None or self._known(result) or session.engine.state not in _IDLE:
            return
        if result.model is not session.model:
            return  # another model was picked: loading this one again is not worth a badge
        step = max(1, max(result.probability.shape) // _DESCRIBED_SIDE)
        seen = describe(binarize(result.probability[::step, ::step], session.threshold), suggest=False)
        variants = self._contrasts(result, seen.measured)
        size = compare_size(session.scan.size)
        session.compare([v.prompt.text for v in variants], size, lambda maps: self._keep(result, variants, maps))

    def _known(self, result: Result) -> bool:
        return result.target in self._maps and self._maps[result.target][0] is result

    def _keep(self, result: Result, variants: list[Variant], maps: list[Bytes]) -> None:
        self._maps[result.target] = result, {v.contrast: m for v, m in zip(variants, maps, strict=True)}
        self.effect_changed.emit()
        # Meanwhile another result may have come into view.
        self._measure()

    def _take(
        self,
        result: Result,
        rungs: list[Prompt],
        variants: list[Variant],
        maps: list[Bytes],
        threshold: float,
        measured: tuple[str, ...],
    ) -> None:
        session = self._session
        masks = [binarize(m, threshold) for m in maps]
        levels, others = masks[: len(rungs)], masks[len(rungs) :]
        own = others[0]
        target = variants[0].prompt.attributes.target
        explain, shown = session.vocabulary.family(target).explain, session.vocabulary.target(target).shown
        made = [
            Wording(f"{p.level.upper()}: {explain(p.level)}", p, shown(p.text), mask, dice(own, mask), _place(mask))
            for p, mask in zip(rungs, levels, strict=True)
        ]
        wrong = [
            Wording(v.contrast.value, v.prompt, shown(v.prompt.text), mask, dice(own, mask), _place(mask))
            for v, mask in zip(variants, others, strict=True)
        ]
        self._keep(result, variants, maps[len(rungs) :])
        self.compared.emit(
            Comparison(
                yours=wrong[0],
                rungs=tuple(made),
                contrasts=tuple(wrong[1:]),
                effect=effect({v.contrast: m for v, m in zip(variants, others, strict=True)}),
                agreement=agreement(levels[1:]),
                picks=_picks(wrong[0], next((w for w in wrong if w.title == Contrast.WRONG_SIDE.value), None)),
                measured=measured,
            )
        )


def _picks(yours: Wording, opposite: Wording | None) -> str:
    """What the opposite side outlines beside the person's own words, and how far both agree."""
    if opposite is None or not yours.mask.any():
        return ""
    if not opposite.mask.any():
        return f"“{opposite.text}” outlines nothing: the place is part of what your words mean to the model."
    agree = f"the two outlines agree {opposite.agreement:.2f} (Dice)"
    if 1 - opposite.agreement >= ELSEWHERE:
        return (
            f"The place decides which one is outlined: “{yours.text}” the one in the {yours.place}, “{opposite.text}” "
            f"another one, in the {opposite.place}; {agree}."
        )
    if 1 - opposite.agreement <= LITTLE:
        return f"The place hardly counts: “{opposite.text}” outlines much the same; {agree}."
    return f"“{opposite.text}” outlines partly something else; {agree}."


def _place(mask: Mask) -> str:
    """Where in the image an outline lies, as one says it: "top left and center"."""
    return joined([place for place in describe(mask, suggest=False).location.split(", ") if place])
