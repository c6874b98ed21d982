"""What a check of data finds: the kinds, how severe each is, and the table that refuses or allows what follows."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from napari_medvlsm.core.datasets.layouts import TABLE
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.plain_files import shown

# "stop": training would fail or give wrong results; "warning": should be known; "note": only counted.
STOP, WARNING, NOTE = "stop", "warning", "note"


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: what it says of several items, how severe it is, and whether one may go on knowingly."""

    words: str
    severity: str
    acceptable: bool = True


KINDS = {
    "outside-folder": FindingKind("file names that leave the data folder", STOP, acceptable=False),
    "missing-file": FindingKind("listed files that are not there", STOP),
    "unreadable": FindingKind("files that cannot be read", STOP, acceptable=False),
    "size-mismatch": FindingKind("masks of another size than their image", STOP),
    "ambiguous-mask": FindingKind("masks whose values could mean several things", STOP, acceptable=False),
    "turned-image": FindingKind("images that are turned by a tag that their masks lack", STOP),
    "unknown-modality": FindingKind("kinds of scans that no vocabulary has", STOP, acceptable=False),
    "inverted-masks": FindingKind("sets whose masks seem to be inverted", STOP),
    "image-in-two-splits": FindingKind("images listed in two splits", STOP),
    "copy-in-two-splits": FindingKind("images with a copy in another split", STOP),
    "group-in-two-splits": FindingKind("patients, sequences or cases in two splits", STOP),
    "groups-of-others": FindingKind("tables of patients, sequences or cases that name none of the images", STOP),
    "no-validation": FindingKind("sets whose validation cannot choose the best model", STOP),
    "target-not-shown": FindingKind("targets that a split does not show", WARNING),
    "listed-twice": FindingKind("masks listed twice in one split", WARNING),
    "copy-in-split": FindingKind("images with a copy in their own split", WARNING),
    "unknown-target": FindingKind("targets that no vocabulary has, but one that is written nearly so", WARNING),
    "empty-split": FindingKind("splits that list nothing", WARNING),
    "in-no-split": FindingKind(f"images of {TABLE} that no split lists", WARNING),
    "repeated-file": FindingKind("lists that repeat another list of the set", WARNING),
    "copy-of-another-set": FindingKind("annotation files that are copies of another set's", WARNING),
    "fraction-mask": FindingKind("masks of fractions, cut at one half", WARNING),
    "empty-mask": FindingKind("masks without foreground", NOTE),
    "non-binary-mask": FindingKind("masks with values between 0 and 255", NOTE),
}


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes
    ----------
    kind : str
        Of `KINDS`.
    severity : str
        "stop", "warning" or "note".
    split : str
        Or several, with commas; "" where it is no matter of splits.
    item : str
        The file, group or list that it is about.
    sentence : str
    """

    kind: str
    severity: str
    split: str
    item: str
    sentence: str


@dataclass(frozen=True)
class DataReport:
    """What a check found.

    Attributes
    ----------
    name : str
        Of the folder or recipe.
    images, masks : mapping of split to number listed
        An image listed twice counts once.
    findings : tuple of Finding
    """

    name: str
    images: Mapping[str, int]
    masks: Mapping[str, int]
    findings: tuple[Finding, ...]

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(f for f in self.findings if f.kind == kind)

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind, the severest kinds first."""
        found = Counter(f.kind for f in self.findings)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def refusals(self, accept: Collection[str] = ()) -> dict[str, tuple[Finding, ...]]:
        """The findings by kind that forbid training, but for the kinds in `accept`.

        Raises
        ------
        ValueError
            If `accept` names a kind that is unknown or cannot be accepted.
        """
        _check_accept(accept)
        stops = {kind: tuple(f for f in self.of(kind) if f.severity == STOP) for kind in KINDS if kind not in accept}
        return {kind: found for kind, found in stops.items() if found}

    def refuse(self, accept: Collection[str] = (), what: str = "Training") -> None:
        """Raise ValueError, with one sentence, if training on this data would fail or its results would be wrong.

        Parameters
        ----------
        accept : collection of str
            Kinds of findings with which to go on knowingly.
        what : str
            What would mislead, for the sentence.
        """
        refused = self.refusals(accept)
        if not refused:
            return
        said = [
            f"{KINDS[kind].words}: {len(found)} ({kind}), such as {shown(found[0].item)}"
            for kind, found in refused.items()
        ]
        acceptable = [kind for kind in refused if KINDS[kind].acceptable]
        way = f", or accept {' '.join(acceptable)} to go on knowingly" if acceptable else ""
        raise ValueError(f"{what} on {self.name} would mislead: {'; '.join(said)}. Mend the data{way}.")


def finding(kind: str, split: str, item: str, sentence: str) -> Finding:
    """A finding of a kind, as severe as its kind."""
    return Finding(kind, KINDS[kind].severity, split, item, sentence)


def leak(kind: str, splits: set[str], item: str, sentence: str) -> Finding:
    """A finding that misleads where training is one of the splits; between validation and test it is a warning."""
    return Finding(kind, STOP if "train" in splits else WARNING, joined(splits), item, sentence)


def joined(splits: Iterable[str]) -> str:
    """Splits in their usual order, with commas."""
    return ", ".join(split for split, _ in sorted(((split, 0) for split in splits), key=in_order))


def in_order(item: tuple[str, int]) -> int:
    """Key that sorts numbers by split."""
    return SPLITS.index(item[0]) if item[0] in SPLITS else len(SPLITS)


def _check_accept(accept: Collection[str]) -> None:
    for kind in accept:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KINDS)}."
            raise ValueError(f"There is no kind of finding {kind!r}; {hint}")
        if not KINDS[kind].acceptable:
            raise ValueError(f"{kind} cannot be accepted: mend the data, or leave these images out.")
