"""`medvlsm project`: a folder of scans that is worked through over days, without a window."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import FAILED, OK, SOME_FAILED
from napari_medvlsm.cli._progress import scan_bar
from napari_medvlsm.cli._scans import add_foreground
from napari_medvlsm.core.projects.states import State

if TYPE_CHECKING:
    from napari_medvlsm.core.projects.adding import NewScan
    from napari_medvlsm.core.projects.grouping import GroupRule
    from napari_medvlsm.core.projects.imports import GivenMask, ImportReport
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.statistics import Estimate

_EXAMPLES = 5


def add_to(commands: Any) -> Any:
    """Add `project` to the subparsers of `medvlsm`; the subparsers of `project`, for what needs a model."""
    group = commands.add_parser("project", help="work through a folder of scans over days, with every version kept")
    below = group.add_subparsers(dest="action", required=True)

    new = below.add_parser("new", help="make a project")
    new.add_argument("project", type=Path, help="folder; it does not exist yet")
    new.add_argument("--target", action="append", default=[], help="what to outline in every scan; may be given again")
    new.add_argument("--title", default="", help="for people (default: the folder's name)")
    new.set_defaults(run=_new)

    add = below.add_parser("add", help="add scans, with outlines that exist already")
    add.add_argument("project", type=Path)
    add.add_argument("scans", nargs="*", type=Path, help="scans and folders of scans")
    add.add_argument("--copy", action="store_true", help="copy the scans into the project")
    add.add_argument("--masks", type=Path, metavar="FOLDER", help="existing masks, each with the name of its scan")
    add.add_argument("--dataset", type=Path, metavar="FOLDER", help="a data set: the paper's layout, or an export")
    add.add_argument("--coco", type=Path, metavar="FILE", help="COCO annotations of the scans in the folder given")
    add.add_argument("--target", default="", help="what the masks show, where they do not say so")
    add_foreground(add)
    add.add_argument("--author", default="", help="who drew the masks, where they do not say so")
    add.add_argument(
        "--as",
        dest="state",
        choices=("draft", "submitted", "approved"),
        default="submitted",
        help="state of outlines that come along (default: %(default)s)",
    )
    add.add_argument(
        "--accept",
        action="append",
        default=[],
        choices=("inverted-masks", "turned-image"),
        help="a kind of finding of the data check to go on with; may be given again",
    )
    add.add_argument("--modality", default="", help="kind of scan, as in 'medvlsm prompts list'")
    add.add_argument("--group-name", metavar="RULE", help="group by the file's name, such as '{patient}_*'")
    add.add_argument("--group-table", type=Path, metavar="FILE", help="group by a table (CSV) with a column 'image'")
    add.add_argument("--group-column", default="", metavar="COLUMN", help="of that table, or of one of the data set's")
    add.add_argument(
        "--group-header",
        metavar="FIELD",
        help="group by a tag of TIFF or EXIF, or a text of PNG (not yet of DICOM)",
    )
    add.add_argument("--preview", action="store_true", help="show the groups, and add nothing")
    add.set_defaults(run=_add)

    status = below.add_parser("status", help="how far it is, and what outlines cost")
    status.add_argument("project", type=Path)
    status.add_argument("--json", action="store_true", help="for programs")
    status.add_argument("--csv", type=Path, metavar="FILE", help="write the ledger of effort, a line for each outline")
    status.set_defaults(run=_status)

    effort = below.add_parser("effort", help="what outlines cost, and whether another model made that less")
    effort.add_argument("project", type=Path)
    effort.add_argument(
        "--by",
        choices=("version", "target", "person", "case"),
        default="version",
        help="a line for each model version, target, person or scan (default: %(default)s)",
    )
    effort.add_argument("--target", default="", help="only this one")
    effort.add_argument("--first", default="", metavar="VERSION", help="to compare; by default the last two")
    effort.add_argument("--second", default="", metavar="VERSION", help="to compare with the first")
    effort.add_argument("--csv", type=Path, metavar="FILE", help="write the lines; by case, one for each outline")
    effort.add_argument("--plot", type=Path, metavar="FILE", help="draw it over time and by version (PNG, PDF or SVG)")
    effort.add_argument("--measure", default="seconds", help="to plot, as the lines name it (default: %(default)s)")
    effort.set_defaults(run=_effort)

    export = below.add_parser("export", help="write a data set that 'medvlsm train best/own --data FOLDER' takes")
    export.add_argument("project", type=Path)
    export.add_argument("folder", type=Path, help="of the data set; it does not exist yet")
    export.add_argument(
        "--state",
        action="append",
        choices=[state.value for state in State if state is not State.UNSEEN],
        help="of the outlines to take; may be given again (default: approved and absent)",
    )
    export.add_argument("--target", action="append", default=[], help="only this one; may be given again")
    export.add_argument("--replace", action="store_true", help="replace an earlier export of a project")
    export.set_defaults(run=_export)

    check = below.add_parser("check", help="find what somebody did to the folder by hand")
    check.add_argument("project", type=Path)
    check.add_argument("--deep", action="store_true", help="read every scan, too")
    check.set_defaults(run=_check)

    repair = below.add_parser("repair", help="mend what 'check' finds; what cannot be used is set aside")
    repair.add_argument("project", type=Path)
    repair.add_argument("--find", action="append", default=[], type=Path, help="folder to look for lost scans in")
    repair.set_defaults(run=_repair)
    return below


def _new(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.folder import create_project

    create_project(options.project, options.target, options.title)
    print(f"Made {options.project}; 'medvlsm project add {options.project} FOLDER' adds scans.")
    return OK


def _add(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.adding import grouped
    from napari_medvlsm.core.projects.imports import import_outlines, refuse_misleading
    from napari_medvlsm.core.projects.store import ProjectStore

    _require_one_source(options)
    with ProjectStore(options.project, read_only=True) as store:
        rule = _rule(options, store.salt)
    scans, masks = _sources(options)
    scans = [replace(s, modality=s.modality or options.modality) for s in grouped(scans, rule)]
    if options.preview:
        _preview(scans)
        return OK
    refuse_misleading(masks, options.accept)
    with ProjectStore(options.project, options.author) as store:
        _tell(store.notices)
        with scan_bar() as progress:
            report = import_outlines(store, scans, masks, State(options.state), options.copy, progress)
        return _added(store, report)


def _require_one_source(options: argparse.Namespace) -> None:
    if options.dataset and (options.scans or options.masks or options.coco):
        raise ValueError("A data set brings its own scans and masks; give --dataset alone.")
    if not options.dataset and not options.scans:
        raise ValueError("Name the scans, or folders of scans, that are to be added.")
    if options.coco and (len(options.scans) != 1 or not options.scans[0].is_dir()):
        raise ValueError("With --coco, name the one folder that holds its images.")
    if options.coco and (options.masks or options.target):
        raise ValueError("COCO annotations name their targets and hold the outlines: leave out --masks and --target.")
    if options.foreground and not (options.masks or options.dataset):
        raise ValueError("--foreground says what the values of masks mean: it goes with --masks or --dataset only.")


def _sources(options: argparse.Namespace) -> tuple[list[NewScan], list[GivenMask]]:
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary, require_modality
    from napari_medvlsm.core.projects.adding import NewScan, scans_in
    from napari_medvlsm.core.projects.coco import read_coco
    from napari_medvlsm.core.projects.imports import masks_beside, read_dataset

    vocabulary = dataset_vocabulary([options.dataset] if options.dataset else [])
    require_modality(options.modality, vocabulary, "--modality")
    if options.dataset:
        return read_dataset(options.dataset, vocabulary, options.target, options.group_column, options.foreground)
    if options.coco:
        return read_coco(options.coco, options.scans[0], vocabulary)
    scans: list[NewScan] = []
    for path in options.scans:
        if not path.is_dir():
            scans.append(NewScan(path))
            continue
        inside = list(scans_in(path))
        if options.masks and not path.resolve().is_relative_to(masks := options.masks.resolve()):
            inside = [scan for scan in inside if not scan.path.resolve().is_relative_to(masks)]
        if not inside:
            raise ValueError(f"The folder {path} holds no scan.")
        scans += inside
    return scans, masks_beside(
        scans, options.masks, options.target, options.author, options.foreground
    ) if options.masks else []


def _rule(options: argparse.Namespace, salt: str) -> GroupRule | None:
    from napari_medvlsm.core.projects.grouping import ByHeader, ByName, ByTable

    given = [rule for rule in (options.group_name, options.group_table, options.group_header) if rule]
    if len(given) > 1:
        raise ValueError("Choose one way to group: --group-name, --group-table or --group-header.")
    if options.group_name:
        return ByName(options.group_name)
    if options.group_table:
        if not options.group_column:
            raise ValueError("Name the column of the table with --group-column, such as patient.")
        return ByTable.read(options.group_table, options.group_column)
    return ByHeader(options.group_header, salt) if options.group_header else None


def _preview(scans: Sequence[NewScan]) -> None:
    from napari_medvlsm.core.projects.grouping import preview_of

    found = preview_of((scan.name or scan.path.name, scan.group) for scan in scans)
    print(found.sentence)
    for group, names in found.groups.items():
        more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
        print(f"  {group}: {', '.join(names[:_EXAMPLES])}{more}")


def _added(store: ProjectStore, report: ImportReport) -> int:
    scans = report.scans
    for sentences in (scans.known, report.known):
        more = len(sentences) - _EXAMPLES
        _tell([*sentences[:_EXAMPLES], *([f"And {more} more that are there already."] if more > 0 else [])])
    _tell([*scans.failed, *report.failed])
    cases = store.cases(scans.added)
    held_out = sum(case.split == "test" for case in cases)
    with_outlines = f", {report.outlines} outlines" if report.outlines else ""
    held = f"; {held_out} of the scans are held out for judging models" if cases else ""
    print(f"Added {len(cases)} scans{with_outlines}{held}.")
    failed = scans.failed or report.failed
    return OK if not failed else SOME_FAILED if scans.ids else FAILED


def _status(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.ledger import CAUTION, did_it_help, read_ledger, summary, write_ledger
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.projects.values import CaseQuery

    with ProjectStore(options.project, read_only=True) as store:
        ledger = read_ledger(store.database)
        if options.csv:
            write_ledger(ledger, options.csv)
        counts = {target: store.counts(CaseQuery(targets=(target,))) for target in store.all_targets}
        every = store.counts()
        try:
            answers = [answer.sentence for answer in did_it_help(ledger)]
        except ValueError:
            answers = []
        effort = summary(ledger)
        blind = sum(e.split == "test" and not e.assisted for e in ledger)
        assisted = sum(e.split == "test" and e.assisted for e in ledger)
        if options.json:
            found = {
                "title": store.title,
                "scans": every.cases,
                "splits": every.by_split,
                "targets": {t: {"states": c.states, "predictions": c.predictions} for t, c in counts.items()},
                "holdout": {"blind": blind, "model_assisted": assisted},
                "effort": {
                    version: {name: _plain(one.mean, one.low, one.high, one.cases) for name, one in measures.items()}
                    for version, measures in effort.items()
                },
                "answers": answers,
            }
            print(json.dumps(found, indent=1))
            return OK
        splits = ", ".join(f"{'hold-out' if s == 'test' else s} {n}" for s, n in every.by_split.items())
        print(f"{store.title}: {every.cases} scans ({splits}), {len(store.groups())} groups")
        for target, one in counts.items():
            states = ", ".join(f"{n} {state}" for state, n in one.states.items() if n) or "none"
            wait = "prediction waits" if one.predictions == 1 else "predictions wait"
            waiting = f"; {one.predictions} {wait}" if one.predictions else ""
            print(f"  {target}: {states}{waiting}")
        if blind or assisted:
            print(f"Hold-out outlines: {blind} made blind, {assisted} begun from a prediction")
        for version, measures in effort.items():
            told = [f"{name} {one.mean:.3g}" for name, one in measures.items() if one.cases]
            print(f"Effort, {version} ({measures['seconds'].cases} outlines), means: {', '.join(told)}")
        for answer in [*answers, *([CAUTION] if answers else [])]:
            print(answer)
    return OK


def _effort(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.agreement import compare, read_agreements
    from napari_medvlsm.core.projects.chart import save_chart
    from napari_medvlsm.core.projects.ledger import (
        CAUTION,
        MEASURES,
        did_it_help,
        of_target,
        read_ledger,
        summary,
        write_ledger,
        write_summary,
    )
    from napari_medvlsm.core.projects.store import ProjectStore

    comparing = bool(options.first or options.second or options.by == "version")
    with ProjectStore(options.project, read_only=True) as store:
        ledger = of_target(read_ledger(store.database), options.target)
        agreements = read_agreements(store, options.target) if comparing else []
    if not ledger:
        raise ValueError(f"Nothing{f' of {options.target}' if options.target else ''} was submitted or approved yet.")
    if options.measure not in MEASURES:
        raise ValueError(f"There is no measure {options.measure!r}; choose one of {', '.join(MEASURES)}.")
    found = summary(ledger, options.by)
    if options.csv and options.by == "case":
        write_ledger(ledger, options.csv)
    elif options.csv:
        write_summary(found, options.by, options.csv)
    if options.plot:
        save_chart(ledger, options.measure, options.plot)
    for line, measures in found.items():
        told = [f"{name} {_interval(one)}" for name, one in measures.items() if one.cases]
        print(f"{line} ({measures['seconds'].cases} outlines): {', '.join(told)}")
    if comparing:
        nearer = compare(agreements, options.first, options.second)
        try:
            answers = did_it_help(ledger, options.first, options.second)
        except ValueError as error:
            if (options.first or options.second) and not nearer:
                raise
            answers = []
            _tell([str(error)])
        for answer in answers:
            print(answer.sentence)
        if answers:
            print(CAUTION)
        for comparison in nearer:
            print(comparison.sentence)
    return OK


def _interval(one: Estimate) -> str:
    mean, low, high = (
        f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" for value in (one.mean, one.low, one.high)
    )
    return mean if math.isnan(one.low) else f"{mean} ({low} to {high})"


def _plain(mean: float, low: float, high: float, cases: int) -> dict[str, float | int | None]:
    # NaN is no JSON.
    numbers = {"mean": mean, "low": low, "high": high}
    return {key: value if value == value else None for key, value in numbers.items()} | {"outlines": cases}


def _export(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.export import DONE, export_project
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.prompts import load_vocabulary
    from napari_medvlsm.core.prompts.own_words import own_words_path

    states = tuple(State(state) for state in options.state) if options.state else DONE
    with ProjectStore(options.project, read_only=True) as store, scan_bar() as progress:
        report = export_project(
            store,
            options.folder,
            load_vocabulary(own_words_path()),
            states,
            options.target,
            options.replace,
            progress,
        )
    _tell(report.failed)
    splits = ", ".join(f"{'hold-out (test)' if s == 'test' else s} {n}" for s, n in report.outlines.items())
    absent = f", {report.absent} of them absent" if report.absent else ""
    print(f"Exported {sum(report.outlines.values())} outlines{absent}, to {options.folder}: {splits}")
    if report.assisted:
        _tell([f"{report.assisted} outlines of the hold-out began from a prediction, which favours that model."])
    return SOME_FAILED if report.failed else OK


def _check(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.check import check_project

    with scan_bar() as progress:
        found = check_project(options.project, options.deep, progress)
    for finding in found:
        print(f"{finding.kind}: {finding.sentence}")
    if not found:
        print(f"{options.project}: nothing is wrong.")
        return OK
    mended = sum(finding.mended for finding in found)
    print(f"{len(found)} findings; 'medvlsm project repair {options.project}' mends {mended} of them.")
    return SOME_FAILED


def _repair(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.projects.repair import repair_project

    report = repair_project(options.project, options.find)
    for sentence in report.done:
        print(sentence)
    for finding in report.left:
        print(f"left, {finding.kind}: {finding.sentence}")
    if not report.done and not report.left:
        print(f"{options.project}: nothing is wrong.")
    return SOME_FAILED if report.left else OK


def _tell(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(f"medvlsm: {sentence}", file=sys.stderr)
