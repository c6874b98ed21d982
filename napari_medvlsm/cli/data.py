"""`medvlsm data`: where the paper's data sets come from, and a check of data before training."""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import OK, SOME_FAILED

if TYPE_CHECKING:
    from napari_medvlsm.core.datasets.findings import DataReport

_EXAMPLES = 3


def add_to(commands: Any) -> None:
    """Add `data` to the subparsers of `medvlsm`."""
    group = commands.add_parser("data", help="where data sets come from, and a check before training")
    below = group.add_subparsers(dest="action", required=True)

    lister = below.add_parser("list", help="the paper's eleven data sets: origin, terms, citation, folder layout")
    lister.add_argument("names", nargs="*", help="only these")
    lister.set_defaults(run=_list)

    checker = below.add_parser("check", help="find what would make training fail or its results wrong")
    checker.add_argument("folders", nargs="+", type=Path, help="with images/, masks/ and anns/ or splits/")
    checker.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="KIND",
        help="a kind of finding to go on with knowingly; may be given again",
    )
    checker.add_argument("--group-column", default="", metavar="COLUMN", help="of a table: patient, sequence or case")
    checker.add_argument("--all", action="store_true", help=f"every finding, not only {_EXAMPLES} of each kind")
    checker.add_argument("--csv", type=Path, metavar="FILE", help="write every finding into a table")
    checker.set_defaults(run=_check)


def _list(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.datasets.catalogue import load_catalogue

    sets = load_catalogue()
    if unknown := [name for name in options.names if name not in sets]:
        raise ValueError(f"There is no data set {unknown[0]!r}; known are {', '.join(sets)}.")
    print("Terms are as far as known: verify them at the source before use. Images and masks are not shipped here.")
    for name in options.names or sets:
        facts = sets[name]
        numbers = ", ".join(f"{split} {number}" for split, number in facts.items.items())
        print(f"\n{name}: {facts.title} ({facts.scans})")
        print(f"  from      {facts.origin}")
        print(f"  terms     {facts.terms}")
        print(f"  cite      {facts.citation}")
        print(f"  masks     {numbers}")
        print(f"  folder    {name}/: {', '.join(facts.folders)}")
        print(f"  files     {facts.files}")
        for fault in facts.faults:
            print(f"  mind      {fault}")
    return OK


def _check(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_medvlsm.core.datasets.check import check_data

    reports: list[DataReport] = []
    code = OK
    for folder in options.folders:
        with tqdm(unit="file", disable=None, leave=False) as bar:

            def show(done: int, total: int, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            report = check_data(folder, group_column=options.group_column, progress=show)
        _tell(report, options.accept, options.all)
        reports.append(report)
        try:
            report.refuse(options.accept)
        except ValueError as error:
            print(f"medvlsm: {error}", file=sys.stderr)
            code = SOME_FAILED
    if options.csv:
        _write(reports, options.csv)
    return code


def _tell(report: DataReport, accept: list[str], everything: bool) -> None:
    listed = ", ".join(f"{split} {report.images[split]} ({report.masks[split]})" for split in report.images)
    print(f"{report.name}: images (masks) listed: {listed or 'none'}")
    refused = report.refusals(accept)
    for kind, count in report.counts().items():
        found = report.of(kind)
        severity = found[0].severity if kind not in accept else "accepted"
        if kind in refused:
            severity = "stop"
        print(f"  {severity:8} {kind:20} {count}")
        shown = found if everything else found[:_EXAMPLES]
        for finding in shown:
            print(f"           [{finding.split or '-'}] {finding.sentence}")
        if len(shown) < count:
            print(f"           and {count - len(shown)} more")
    if not report.findings:
        print("  nothing found")


def _write(reports: list[DataReport], path: Path) -> None:
    from napari_medvlsm.core.io.atomic import replacing

    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.DictWriter(file, ["set", "kind", "severity", "split", "item", "sentence"])
        writer.writeheader()
        for report in reports:
            writer.writerows({"set": report.name, **asdict(finding)} for finding in report.findings)
