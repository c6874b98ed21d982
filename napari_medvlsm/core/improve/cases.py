"""Which outlines of a project a training would use, and what is wrong with them before it starts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medvlsm.core.datasets.splits import SPLITS, TEST, TRAIN, VAL
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.projects.states import ACCEPTED, State
from napari_medvlsm.core.projects.values import CaseQuery
from napari_medvlsm.core.prompts import target_name

if TYPE_CHECKING:
    from napari_medvlsm.core.projects.store import ProjectStore

# Fewer hold-out scans that show a target than this tell nothing about two models; nor do fewer patients or sequences:
# all of four speak for the same one of two equal models more often than one time in twenty.
FEW, FEW_GROUPS = 10, 5
# Fewer training scans than this are not trained on: their model would know these scans and nothing else.
FEWEST = 3


@dataclass(frozen=True)
class TrainingCase:
    """One outline (a scan and a target) that a round uses.

    Attributes
    ----------
    case_id : int
        Of the scan in the project.
    name, group, split : str
        As in `projects.values.Case`; "test" is the hold-out, which is only measured.
    target : str
    version : int
        Id of the outline's version.
    state : State
    absent : bool
        The answer that the scan does not show the target.
    assisted : bool
        Whether the outline began from a prediction; a truth made this way favours that model.
    pixels_hash : str
        Of the scan's pixels (`core.images.content_hash`); exported files are named by its first 16 digits.
    """

    case_id: int
    name: str
    group: str
    split: str
    target: str
    version: int
    state: State
    absent: bool
    assisted: bool
    pixels_hash: str


@dataclass(frozen=True)
class Finding:
    """Something about the data that a person should know before the start.

    Attributes
    ----------
    kind : str
        "nothing", "too-few", "no-validation", "no-holdout", "few-holdout", "target-not-trained",
        "target-not-validated", "target-not-held-out", "outline-missing", "empty-outline", "scan-missing",
        "scan-changed", "held-out-seen", "held-out-left-out".
    sentence : str
    stops : bool
        Whether a round cannot start with it.
    case_id : int or None
        The scan to show; None where it is about all of them.
    target : str
    """

    kind: str
    sentence: str
    stops: bool
    case_id: int | None = None
    target: str = ""


@dataclass(frozen=True)
class Chosen:
    """The outlines that would be used, and what the database says against them.

    Attributes
    ----------
    cases : tuple of TrainingCase
    findings : tuple of Finding
        What stops comes first.
    """

    cases: tuple[TrainingCase, ...]
    findings: tuple[Finding, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of their first outline."""
        return tuple(dict.fromkeys(case.target for case in self.cases))

    def count(self, split: str = "", target: str = "", absent: bool | None = None) -> int:
        """How many outlines are in a split, of a target, absent or not; by default all."""
        return sum(
            split in ("", case.split) and target in ("", case.target) and absent in (None, case.absent)
            for case in self.cases
        )

    def scans(self, split: str) -> int:
        """How many scans are in a split."""
        return len({case.case_id for case in self.cases if case.split == split})


def choose_cases(
    store: ProjectStore,
    states: Collection[State] = ACCEPTED,
    targets: Collection[str] = (),
    without: Collection[int] = (),
) -> Chosen:
    """The outlines of a project that a round would use, from the database alone: quick, reads no file.

    Parameters
    ----------
    store : ProjectStore
    states : collection of State
        Of the outlines; by default submitted, approved and absent.
    targets : collection of str
        All by default.
    without : collection of int
        Ids of scans that a person leaves out; one of the hold-out stops, as nobody chooses what models are judged by.
    """
    cases, findings = [], []
    for scan in store.cases(query=CaseQuery(states=tuple(states), targets=tuple(targets))):
        if scan.id in without:
            if scan.split == TEST:
                findings.append(
                    Finding(
                        "held-out-left-out",
                        f"{scan.name} is held out, and what models are judged by is not chosen case by case; where "
                        "its outline is wrong, reopen and mend it.",
                        True,
                        scan.id,
                    )
                )
            continue
        for target, state in scan.states.items():
            if state not in states or (targets and target not in targets):
                continue
            version = store.current(scan.id, target)
            if version is None or version.lost:
                findings.append(
                    Finding(
                        "outline-missing",
                        f"The outline of {target_name(target)} in {scan.name} is lost; outline it again, or "
                        "run 'medvlsm project repair'.",
                        True,
                        scan.id,
                        target,
                    )
                )
                continue
            if not version.foreground and not version.absent:
                findings.append(
                    Finding(
                        "empty-outline",
                        f"The outline of {target_name(target)} in {scan.name} is empty; draw it, or answer that "
                        "there is nothing to outline.",
                        True,
                        scan.id,
                        target,
                    )
                )
                continue
            cases.append(
                TrainingCase(
                    case_id=scan.id,
                    name=scan.name,
                    group=scan.group,
                    split=scan.split,
                    target=target,
                    version=version.id,
                    state=state,
                    absent=version.absent,
                    assisted=version.predicted,
                    pixels_hash=scan.pixels_hash,
                )
            )
    chosen = Chosen(tuple(cases), ())
    findings += _of_numbers(chosen)
    return Chosen(tuple(cases), tuple(sorted(findings, key=lambda finding: not finding.stops)))


def too_few(scans: int, shown: int, groups: int) -> str:
    """Why a hold-out tells nothing about two models, as a part of a sentence; "" where it does.

    Parameters
    ----------
    scans : int
        Finished ones.
    shown : int
        Of these, scans that show what is outlined.
    groups : int
        The patients, sequences or single scans that these are of.
    """
    if scans < FEW:
        counted = "no scan" if not scans else f"{scans} scan{'s' * (scans != 1)}"
        return f"the hold-out has {counted}, and fewer than {FEW} say little about two models"
    if shown < FEW:
        return (
            f"{shown or 'none'} of the {scans} scans of the hold-out {'shows' if shown == 1 else 'show'} what is "
            f"outlined, and fewer than {FEW} say little about two models"
        )
    if groups < FEW_GROUPS:
        whose = f"{groups} patients or sequences" if groups > 1 else "one patient or sequence"
        return (
            f"the scans of the hold-out are of {whose}, and fewer than {FEW_GROUPS} of these say little about two "
            "models, however many scans there are"
        )
    return ""


def _of_numbers(chosen: Chosen) -> list[Finding]:
    """What numbers of scans and outlines say against a training."""
    if not chosen.cases:
        return [Finding("nothing", "No outline is submitted or approved yet; submit some first.", True)]
    found = []
    if chosen.scans(TRAIN) < FEWEST:
        found.append(
            Finding(
                "too-few",
                f"{chosen.scans(TRAIN)} of the finished scans are for training, but at least {FEWEST} are "
                "needed; ten finished scans are a good beginning.",
                True,
            )
        )
    if not chosen.count(VAL, absent=False):
        found.append(
            Finding(
                "no-validation",
                "No finished scan of those for validation shows what is outlined, so that the best "
                "model could not be chosen; finish more scans.",
                True,
            )
        )
    held_out = chosen.scans(TEST)
    if not held_out:
        found.append(
            Finding(
                "no-holdout",
                "No scan of the hold-out is finished, so that nobody could say whether the model got "
                "better; finish some of them.",
                False,
            )
        )
    else:
        shown_in = {case.case_id: case.group for case in chosen.cases if case.split == TEST and not case.absent}
        groups = {group or str(case_id) for case_id, group in shown_in.items()}
        if why := too_few(held_out, len(shown_in), len(groups)):
            text = f"{why[0].upper()}{why[1:]}: too few to tell whether the model got better."
            found.append(Finding("few-holdout", text, False))
    for target in chosen.targets:
        shown = {split: chosen.count(split, target, absent=False) for split in SPLITS}
        if not shown[TRAIN]:
            text = f"No training scan shows {target_name(target)}, so the model does not learn it."
            found.append(Finding("target-not-trained", text, False, target=target))
            continue
        if not shown[VAL] and chosen.count(VAL, absent=False):
            text = f"No validation scan shows {target_name(target)}: the best model is chosen by the other targets."
            found.append(Finding("target-not-validated", text, False, target=target))
        if not shown[TEST] and held_out:
            text = f"No scan of the hold-out shows {target_name(target)}: whether it got better is not measured."
            found.append(Finding("target-not-held-out", text, False, target=target))
    return found


def check_scans(
    store: ProjectStore,
    cases: Sequence[TrainingCase],
    seen: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Read every scan and outline that a round would use: what is missing, changed or empty. Takes a while.

    Parameters
    ----------
    store : ProjectStore
    cases : sequence of TrainingCase
    seen : mapping of str to str
        Pixel hashes that the base model was trained on, with the name of that model (`versions.trained_scans`): a
        hold-out case among these stops.
    progress : callable, optional
        ``progress(done, of)`` in scans.
    """
    found: list[Finding] = []
    of_scan: dict[int, list[TrainingCase]] = {}
    for case in cases:
        of_scan.setdefault(case.case_id, []).append(case)
    for number, (scan, outlines) in enumerate(of_scan.items(), 1):
        found += _of_scan(store, scan, outlines, seen or {})
        if progress:
            progress(number, len(of_scan))
    return found


def _of_scan(
    store: ProjectStore, case_id: int, outlines: Sequence[TrainingCase], seen: Mapping[str, str]
) -> list[Finding]:
    first, found = outlines[0], []
    if first.split == TEST and first.pixels_hash in seen:
        found.append(
            Finding(
                "held-out-seen",
                f"{first.name} is held out, but the model {seen[first.pixels_hash]} was trained on "
                "it; start from another model.",
                True,
                case_id,
            )
        )
    path = store.scan_path(case_id)
    if not path.is_file():
        return [
            *found,
            Finding(
                "scan-missing",
                f"{first.name} is not where it was, {path}; put it back, or run "
                "'medvlsm project repair' with the folder it is in now.",
                True,
                case_id,
            ),
        ]
    try:
        pixels = read_scan(path).pixels
    except (ValueError, OSError) as error:
        return [*found, Finding("scan-missing", f"{first.name} cannot be read: {error}", True, case_id)]
    if content_hash(pixels) != first.pixels_hash:
        found.append(
            Finding(
                "scan-changed",
                f"{first.name} is not the picture any more that was outlined; put the old file back.",
                True,
                case_id,
            )
        )
    for outline in outlines:
        try:
            mask = store.load(store.version(outline.version)).mask
        except (ValueError, OSError) as error:
            found.append(
                Finding(
                    "outline-missing",
                    f"{first.name}, {target_name(outline.target)}: {error}",
                    True,
                    case_id,
                    outline.target,
                )
            )
            continue
        if not mask.any() and not outline.absent:
            found.append(
                Finding(
                    "empty-outline",
                    f"The outline of {target_name(outline.target)} in {first.name} is empty; draw it, or answer "
                    "that there is nothing to outline.",
                    True,
                    case_id,
                    outline.target,
                )
            )
    return found
