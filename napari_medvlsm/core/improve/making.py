"""A round is made: its outlines are copied, so that they stay as they are, and its plan is written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medvlsm import __version__
from napari_medvlsm.core.datasets.splits import TEST
from napari_medvlsm.core.improve.cases import TrainingCase, choose_cases
from napari_medvlsm.core.improve.history import changing, next_number
from napari_medvlsm.core.improve.plan import DATA_FOLDER, RECIPE, Base, Plan, changes_for, write_plan
from napari_medvlsm.core.improve.rounds import Round
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.io.disk_errors import is_full
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.export import export_project
from napari_medvlsm.core.projects.states import State

if TYPE_CHECKING:
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.prompts import Vocabulary

# Before the name of the folder of a trial, which is no round.
_TRIAL = ".trial-"


def make_round(
    store: ProjectStore,
    cases: Sequence[TrainingCase],
    base: Base,
    vocabulary: Vocabulary,
    *,
    present: Base | None = None,
    recipe: str = RECIPE,
    changes: Collection[str] = (),
    remark: str = "",
    minutes: float | None = None,
    without: Collection[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Round:
    """Copy outlines and write the plan: a new folder with the next number, whole or not at all; nothing is started.

    Parameters
    ----------
    store : ProjectStore
        Reading suffices.
    cases : sequence of TrainingCase
        See `cases.choose_cases`; the check (`cases.check_scans`) came before.
    base : Base
        See `versions.base_of`.
    vocabulary : Vocabulary
    present : Base, optional
        The present model, with which the candidate is compared; by default `base`.
    recipe, remark : str
    changes : collection of str
        Further `key=value` words; they win over the recipe's.
    minutes : float, optional
        The training ends after this time.
    without : collection of int
        Ids of scans that were left out of `cases`, as `cases.choose_cases` got them.
    progress : callable, optional
        ``progress(done, of)`` in scans.

    Raises
    ------
    ValueError
        If something cannot be copied, such as a scan that has changed since it was checked, the base model was trained
        on a case of the hold-out, or the disk is full.
    """
    for model in (base, present or base):
        if seen := [case.name for case in cases if case.split == TEST and case.pixels_hash in model.trained]:
            raise ValueError(
                f"The model {model.name} was trained on {seen[0]}, which is held out; start from another model."
            )
    with changing(store.folder) as models:
        number = next_number(store.folder)
        words = (*changes_for(base, f"{store.title}, model {number}"), *changes)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        plan = Plan(
            number,
            made,
            store.person,
            base,
            present or base,
            recipe,
            words,
            tuple(cases),
            __version__,
            remark,
            minutes,
            tuple(sorted(without)),
        )
        folder = models / str(number)
        with making_folder(folder) as temporary:
            _fill(temporary, store, plan, vocabulary, progress)
    return Round(folder, plan)


@contextmanager
def trial_round(
    store: ProjectStore,
    cases: Sequence[TrainingCase],
    base: Base,
    vocabulary: Vocabulary,
    *,
    recipe: str = RECIPE,
    changes: Collection[str] = (),
    without: Collection[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Round]:
    """A round for some moments, to see how long it would take (`estimate.by_trial`): no round of the project.

    Its folder is removed afterwards, and so are those that a killed program left. Parameters and errors
    as those of `make_round`.
    """
    words = (*changes_for(base, f"{store.title}, a trial"), *changes)
    out = tuple(sorted(without))
    plan = Plan(0, "", store.person, base, base, recipe, words, tuple(cases), __version__, left_out=out)
    with changing(store.folder) as models:
        for left in models.glob(f"{_TRIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        # Beside the rounds: the base model is seen from there.
        folder = Path(tempfile.mkdtemp(prefix=_TRIAL, dir=models))
    try:
        _fill(folder, store, plan, vocabulary, progress)
        yield Round(folder, plan)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fill(
    folder: Path,
    store: ProjectStore,
    plan: Plan,
    vocabulary: Vocabulary,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Copy the outlines of a plan, and write it."""
    cases = plan.cases
    try:
        report = export_project(
            store,
            folder / DATA_FOLDER,
            vocabulary,
            tuple(dict.fromkeys(case.state for case in cases)) or (State.APPROVED,),
            tuple(dict.fromkeys(case.target for case in cases)),
            progress=progress,
            without=plan.left_out,
        )
    except ProjectError as error:
        if not is_full(error):
            raise
        raise ValueError(
            f"Nothing was begun: the disk of {store.folder} is full; make room, then give the same command again."
        ) from error
    if report.failed:
        raise ValueError(f"Nothing was begun: {report.failed[0]}")
    # Somebody else may have gone on working.
    now = choose_cases(store, {case.state for case in cases}, {case.target for case in cases}, plan.left_out)
    if set(now.cases) != set(cases):
        raise ValueError("Nothing was begun: outlines were changed meanwhile; look at them again.")
    write_plan(plan, folder)
