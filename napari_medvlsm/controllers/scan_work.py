"""What was said and found of each scan, kept for as long as the program runs: who goes back finds it as it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

from napari_medvlsm.core.masks import Bytes, MaskSettings
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.presence import probably_absent
from napari_medvlsm.core.prompts import Attributes, Prompt

# Probability maps of all scans together may take this much; the scans seen longest ago give theirs up first.
MAP_BYTES = 2**29


@dataclass(frozen=True, eq=False)
class Result:
    """A model's answer and what was asked: scan, model, prompt and vocabulary as they were then.

    `probability` is of shape (H, W), 0 to 255; answers of one `request` are looked at together.
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

    @property
    def peak(self) -> float:
        """The highest probability anywhere, between 0 and 1."""
        return float(self.probability.max()) / 255

    @cached_property
    def probably_absent(self) -> bool:
        """Whether the scan probably does not show what was asked for."""
        return probably_absent(self.probability, self.model.card, self.options)


@dataclass(frozen=True)
class Said:
    """What a person said: the choices, which of them were measured, the level, and typed words."""

    attributes: Attributes = field(default_factory=Attributes)
    measured: frozenset[str] = frozenset()
    level: str | None = None
    typed: str | None = None


@dataclass(frozen=True, eq=False)
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
        The target whose result was shown.
    settings : dict of MaskSettings by model and target
    """

    said: Said = field(default_factory=Said)
    said_of: dict[str, Said] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    shown: str = ""
    settings: dict[tuple[str, str], MaskSettings] = field(default_factory=dict)


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
        for key, old in list(self._works.items()):
            if over <= 0 or key == scan_hash:
                break
            over -= _size(old)
            self._works[key] = replace(old, results={}, shown="")

    def find(self, scan_hash: str) -> ScanWork | None:
        """The work on a scan; None if there is none."""
        return self._works.get(scan_hash)


def _size(work: ScanWork) -> int:
    return sum(result.probability.nbytes for result in work.results.values())
