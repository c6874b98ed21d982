"""A project's outlines as a data set to train on, with the splits that the project gave: "test" is the hold-out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_medvlsm.core.datasets.export import DatasetWriter
from napari_medvlsm.core.datasets.info import DatasetInfo, write_info
from napari_medvlsm.core.datasets.splits import SPLITS
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.projects.errors import ProjectError, told
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import CaseQuery
from napari_medvlsm.core.prompts import Vocabulary

# Says that a folder is an export, of which project: only such a one is replaced.
MARK_FILE = "project.json"
#: What nobody has to look at any more.
DONE = (State.APPROVED, State.ABSENT)


@dataclass
class ExportReport:
    """What was exported.

    Attributes
    ----------
    outlines : dict of split to int
    absent : int
        Of these, answers that there is nothing.
    assisted : int
        Outlines of the hold-out that began from a prediction: a truth made this way favours that model.
    failed : list of str
        A sentence for each that is missing in the export.
    """

    outlines: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    absent: int = 0
    assisted: int = 0
    failed: list[str] = field(default_factory=list)


def export_project(
    store: ProjectStore,
    folder: Path,
    vocabulary: Vocabulary,
    states: Sequence[State] = DONE,
    targets: Sequence[str] = (),
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
    without: Collection[int] = (),
) -> ExportReport:
    """Write outlines as a data set (`datasets.export`), all of it or nothing.

    Parameters
    ----------
    store : ProjectStore
    folder : Path
        Does not exist yet, or is an earlier export of a project.
    vocabulary : Vocabulary
    states : sequence of State
        Of the outlines to take; unseen ones have none.
    targets : sequence of str
        All by default.
    replace : bool
        Replace an earlier export.
    progress : callable, optional
        ``progress(done, of)``.
    without : collection of int
        Ids of scans to leave out.

    Raises
    ------
    ProjectError
        If the folder exists and is not to be replaced, or is no export; or if there is nothing to export.
    """
    if folder.exists():
        _require_export(folder, replace)
    query = CaseQuery(states=tuple(states), targets=tuple(targets))
    cases = [case for case in store.cases(query=query) if case.id not in without]
    report = ExportReport()
    if not cases:
        raise ProjectError(
            f"No outline is {' or '.join(states)}{f' of {chr(44).join(targets)}' if targets else ''} in {store.title}, "
            "so there is nothing to export."
        )
    try:
        with told(folder.parent, "exported"), making_folder(folder, replace=folder.exists()) as temporary:
            writer = DatasetWriter(temporary, vocabulary)
            for number, case in enumerate(cases, 1):
                wanted = [t for t, state in case.states.items() if state in states and (not targets or t in targets)]
                _add_case(store, writer, case.id, wanted, report)
                if progress:
                    progress(number, len(cases))
            if not sum(report.outlines.values()):
                raise ProjectError(f"None of {len(cases)} scans could be exported. {report.failed[0]}")
            writer.write_lists()
            _describe(store, temporary)
    except ProjectError:
        raise
    except ValueError as error:
        raise ProjectError(str(error)) from error
    return report


def _add_case(
    store: ProjectStore, writer: DatasetWriter, case_id: int, targets: Sequence[str], report: ExportReport
) -> None:
    case = store.case(case_id)
    try:
        scan = read_scan(store.scan_path(case_id))
        if content_hash(scan.pixels) != case.pixels_hash:
            raise ProjectError("the scan has changed since it was added; its outlines may not fit.")
    except (ValueError, OSError) as error:
        report.failed.append(f"{case.name}: {error}")
        return
    for target in targets:
        version = store.current(case_id, target)
        assert version is not None
        try:
            annotation = store.load(version)
            writer.add(scan, annotation, modality=case.modality, group=case.group, split=case.split)
        except ValueError as error:
            report.failed.append(f"{case.name}, {target}: {error}")
            continue
        report.outlines[case.split] += 1
        report.absent += annotation.absent
        report.assisted += case.split == "test" and version.predicted


def _describe(store: ProjectStore, folder: Path) -> None:
    modalities = {case.modality for case in store.cases()}
    modality = modalities.pop() if len(modalities) == 1 else ""
    write_info(folder, DatasetInfo(store.title, modality=modality, salt=store.salt))
    mark = {"project": store.meta("project"), "title": store.title}
    (folder / MARK_FILE).write_text(json.dumps(mark, indent=1), "utf-8")


def _require_export(folder: Path, replace: bool) -> None:
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARK_FILE).is_file()):
        raise ProjectError(f"{folder} exists and is no export of a project; choose another name.")
    if any(folder.iterdir()) and not replace:
        raise ProjectError(f"{folder} is an earlier export; choose another name, or ask for it to be replaced.")
