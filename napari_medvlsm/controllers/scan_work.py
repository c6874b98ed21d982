"""What was said and found of each scan, kept for as long as the program runs: who goes back finds it as it was."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from napari_medvlsm.controllers.said import Said
from napari_medvlsm.core.annotation import Annotation, Provenance, new_provenance
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.masks import Bytes, Mask, MaskSettings
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.models.store.trained_on import read_trained
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.presence import probably_absent
from napari_medvlsm.core.prompts import Prompt, Vocabulary

# Probability maps of all scans together may take this much; the scans seen longest ago give theirs up first.
MAP_BYTES = 2**29
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Result:
    """A model's answer and what was asked: scan, model, prompt and vocabulary as they were then.

    `probability` is of shape (H, W), 0 to 255; answers of one `request` are looked at together. With `anyway` it
    is outlined even where the scan probably does not show it.
    """

    scan_hash: str
    model: ModelEntry
    prompt: Prompt
    target: str
    probability: Bytes
    options: SegmentOptions = WHOLE_SCAN
    vocabulary_hash: str = ""
    weights_hash: str = ""
    request: int = 0
    anyway: bool = False

    @classmethod
    def of_outline(cls, annotation: Annotation, model: ModelEntry, prompt: Prompt) -> Result:
        """An earlier answer of which the outline alone was kept: certain inside of it, and nowhere else."""
        made = annotation.provenance
        return cls(
            made.scan_hash,
            model,
            prompt,
            annotation.target,
            np.where(annotation.mask, 255, 0).astype(np.uint8),
            made.options,
            made.vocabulary_hash,
            made.weights_hash,
            anyway=bool(annotation.mask.any()),
        )

    @property
    def peak(self) -> float:
        """The highest probability anywhere, between 0 and 1."""
        return float(self.probability.max()) / 255

    @cached_property
    def probably_absent(self) -> bool:
        """Whether the scan probably does not show what was asked for."""
        return probably_absent(self.probability, self.model.card, self.options)

    @cached_property
    def trained_on(self) -> bool:
        """Whether the model learned from this very scan, as its folder says; what that does not tell counts as no."""
        try:
            return self.scan_hash in read_trained(self.model.folder)
        except (ValueError, OSError) as error:
            _log.warning("%s", error)
            return False

    @property
    def withheld(self) -> bool:
        """Whether nothing is outlined, for that reason."""
        return self.probably_absent and not self.anyway

    def provenance(self, scan: Scan, settings: MaskSettings) -> Provenance:
        """Where a mask of this result comes from."""
        return new_provenance(
            scan_hash=self.scan_hash,
            scan_size=scan.size,
            spacing=scan.spacing,
            spacing_from=scan.spacing_from,
            prompt=self.prompt,
            vocabulary_version=self.prompt.vocabulary_version,
            vocabulary_hash=self.vocabulary_hash,
            model=self.model.name,
            weights_hash=self.weights_hash,
            threshold=settings.threshold,
            cleanup=settings.cleanup,
            options=self.options,
        )

    def mask(self, settings: MaskSettings, clean: bool = True) -> Mask:
        """The mask (H, W) at a threshold, with or without clean-up; empty where it is withheld."""
        if self.withheld:
            return np.zeros(self.probability.shape, bool)
        return settings.apply(self.probability, clean)


@dataclass(eq=False)
class ScanWork:
    """The work on one scan.

    Attributes
    ----------
    said : Said
        As it was when the scan was left.
    said_of : dict of Said by target
        As it was when another target was turned to.
    results : dict of Result by target
    shown : str
        The target whose result is shown.
    settings : dict of MaskSettings by model and target
    """

    said: Said = field(default_factory=Said)
    said_of: dict[str, Said] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    shown: str = ""
    settings: dict[tuple[str, str], MaskSettings] = field(default_factory=dict)
    # By target, the last mask with the result and the settings that it was made with.
    _masks: dict[str, tuple[Result, MaskSettings, Mask]] = field(default_factory=dict)

    @property
    def result(self) -> Result | None:
        """The result that is shown."""
        return self.results.get(self.shown)

    @property
    def together(self) -> frozenset[str]:
        """The targets that were asked for at once with the one that is shown, itself included."""
        shown = self.result
        return frozenset(t for t, r in self.results.items() if shown is not None and r.request == shown.request)

    def said_about(self, target: str) -> Said | None:
        """What was said of a target; None for nothing."""
        if target not in self.said_of and target in self.results:
            return Said.in_prompt(self.results[target].prompt)
        return self.said_of.get(target)

    def modality(self, vocabulary: Vocabulary) -> str:
        """The kind of scan, told by a target that the model found in it; "" where it is not known."""
        found = (vocabulary.target(r.target).modality for r in self.results.values() if not r.probably_absent)
        return next(filter(None, found), "")

    def mask(self, result: Result, settings: MaskSettings) -> Mask:
        """The mask (H, W) of a result, cleaned up; made once."""
        kept = self._masks.get(result.target)
        if kept is None or kept[0] is not result or kept[1] != settings:
            kept = self._masks[result.target] = result, settings, result.mask(settings)
        return kept[2]

    def take_up(self, annotation: Annotation, prompt: Prompt, model: ModelEntry) -> None:
        """Make a result of an outline that a model gave earlier, of which no probabilities were kept."""
        made, target = annotation.provenance, annotation.target
        threshold = model.card.threshold if made.threshold is None else made.threshold
        self.settings[model.name, target] = MaskSettings(threshold, made.cleanup)
        self.results[target] = Result.of_outline(annotation, model, prompt)
        self.said_of.setdefault(target, Said.in_prompt(prompt))

    def give_up_maps(self) -> None:
        """Forget all results and their masks."""
        self.results, self.shown, self._masks = {}, "", {}


class ScanWorks:
    """The work on all scans, by the hash of their pixels.

    Parameters
    ----------
    limit : int
        Bytes that all probability maps together may take.
    """

    def __init__(self, limit: int = MAP_BYTES) -> None:
        self._limit = limit
        # The scan that was left last is the last.
        self._works: dict[str, ScanWork] = {}

    def keep(self, scan_hash: str, work: ScanWork) -> None:
        """Keep the work on a scan that is left; maps of others go where they take too much memory."""
        self._works.pop(scan_hash, None)
        self._works[scan_hash] = work
        over = sum(map(_size, self._works.values())) - self._limit
        for old in self._works.values():
            if over <= 0 or old is work:
                break
            over -= _size(old)
            old.give_up_maps()

    def find(self, scan_hash: str) -> ScanWork | None:
        """The work on a scan; None if there is none."""
        return self._works.get(scan_hash)


def _size(work: ScanWork) -> int:
    return sum(result.probability.nbytes for result in work.results.values())
