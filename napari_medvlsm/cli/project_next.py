"""`medvlsm project next`: which scans of a project to outline next. Apart from `project`, which needs no torch."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from napari_medvlsm.cli._codes import OK, SOME_FAILED
from napari_medvlsm.cli._progress import scan_bar


def add_to(actions: Any) -> None:
    """Add `next` to the subparsers of `medvlsm project`."""
    order = actions.add_parser("next", help="say which scans to outline next, and why")
    order.add_argument("project", type=Path)
    order.add_argument("--target", default="", help="what is to be outlined, where the project has several targets")
    order.add_argument("--model", default="", help="name or folder of the model (default: the project's present one)")
    order.add_argument("--count", type=int, default=20, help="how many scans (default: %(default)s)")
    order.add_argument("--seed", type=int, default=0, help="of what is left to chance (default: %(default)s)")
    order.add_argument("--events", action="store_true", help="print how far it is, as JSON, in place of the scans")
    order.set_defaults(run=_next)


def _next(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.improve.survey import survey_project
    from napari_medvlsm.core.improve.versions import find_project_model
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.prompts import load_vocabulary
    from napari_medvlsm.core.prompts.own_words import own_words_path

    if options.count < 1:
        raise ValueError(f"--count must be at least 1, but is {options.count}.")
    with ProjectStore(options.project, read_only=True) as store:
        target = _one_target(options.target, store.all_targets)
        segmenter = load_segmenter(options.model or str(find_project_model(options.project).folder))
        vocabulary = load_vocabulary(own_words_path())
        with nullcontext(_tell_far) if options.events else scan_bar() as progress:
            order = survey_project(store, segmenter, target, vocabulary, options.count, options.seed, progress)
        names = {case.id: case.name for case in store.cases([found.case_id for found in order.cases])}
    for name in order.unread:
        print(f"medvlsm: {name} cannot be read and was left out.", file=sys.stderr)
    if options.events:
        return SOME_FAILED if order.unread else OK
    for found in order.cases:
        print(f"{names[found.case_id]}: {found.reason}")
    if not order.cases:
        print(f"No scan of {options.project} waits for an outline of {target}, but for the hold-out.")
    return SOME_FAILED if order.unread else OK


def _tell_far(done: int, of: int) -> None:
    print(json.dumps((done, of)), flush=True)


def _one_target(wanted: str, known: Sequence[str]) -> str:
    if wanted and wanted not in known:
        raise ValueError(f"The project has no target {wanted!r}; it has {', '.join(known) or 'none'}.")
    if not wanted and len(known) != 1:
        raise ValueError(f"Say with --target what is to be outlined: {', '.join(known) or 'the project has none yet'}.")
    return wanted or known[0]
