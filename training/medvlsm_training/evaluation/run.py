"""A model on data sets, from folder to folder: what `medvlsm evaluate` does."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from medvlsm_training.config import UPSTREAM
from medvlsm_training.evaluation.data import DataSet, EvaluationCase
from medvlsm_training.evaluation.measure import measure
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from medvlsm_training.evaluation.resume import ResumeState
from napari_medvlsm import __version__
from napari_medvlsm.core.datasets.check import check_items
from napari_medvlsm.core.datasets.findings import NOTE
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.atomic import making_folder
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.models.store.registry import find_model
from napari_medvlsm.core.models.store.weights_hash import weights_hash
from napari_medvlsm.core.options import AUTO
from napari_medvlsm.core.runs.results import (
    SUMMARY_FILE,
    About,
    MeasuredSet,
    Results,
    read_results,
    trained_on,
    trained_prompts,
    write_results,
)
from napari_medvlsm.core.runs.scores import TOLERANCE, Measurements

Progress = Callable[[Iterable[EvaluationCase]], Iterable[EvaluationCase]]


def evaluate_sets(
    model: str,
    sets: Sequence[DataSet],
    out: Path,
    prompts: EvaluationPrompts | None = None,
    *,
    threshold: float | None = None,
    tolerance: float = TOLERANCE,
    seen: Sequence[str] | None = None,
    trained_level: str = "",
    device: str = AUTO,
    replace: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: Progress = iter,
    accept: Collection[str] = (),
) -> Results:
    """Measure a model and write a folder of results, whole or not at all.

    Every finished set is saved beside `out` until then: the same call goes on after an interruption.

    Parameters
    ----------
    model : str
        Name or folder.
    sets : sequence of DataSet
        See `data.read_data` and `data.recipe_sets`.
    out : Path
        The folder of results to make.
    prompts : EvaluationPrompts, optional
        What to ask; by default the class name alone.
    threshold : float, optional
        By default the model's own. One of another choice must not come from the cases that are measured.
    tolerance : float
        Of the normalised surface distance.
    seen : sequence of str, optional
        Folders of the sets that the model was trained on, where its card does not say; empty for none.
    trained_level : str
        Level of the prompts that it was trained with, in upstream's wording, where its card does not say.
    device : str
        Computed in float32 on any of them: reported numbers should not depend on the machine.
    replace : bool
        Replace an older folder of results.
    notify : callable, optional
        Gets a sentence for the user.
    progress : callable, optional
        Wraps the cases of each set, for a progress bar.
    accept : collection of str
        Kinds of findings of the data check to go on with.

    Raises
    ------
    ValueError
        If the data, the model or the options cannot be used, the data check finds what would make the numbers wrong, or
        `out` exists.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, but is {threshold}.")
    if tolerance < 0:
        raise ValueError(f"The tolerance must be at least 0, but is {tolerance}.")
    _check_out(out, replace)
    entry, prompts = find_model(model), prompts or EvaluationPrompts()
    if len({data.name for data in sets}) < len(sets):
        raise ValueError("Two data set folders have the same name; results could not tell them apart.")
    for data in sets:
        if data.missing and notify is not None:
            notify(f"{data.missing} of {data.missing + len(data.cases)} cases of {data.name} lack their files.")
    for data in sets:
        _refuse_misleading(data, accept, notify)
    segmenter = load_segmenter(entry, device, "float32", notify)
    about = about_model(
        entry.name,
        segmenter,
        weights_hash(entry.folder),
        prompts,
        entry.card.threshold if threshold is None else threshold,
        tolerance=tolerance,
        threshold_from="the model's card" if threshold is None else "the command",
        seen=seen,
        trained_level=trained_level,
    )
    return measure_sets(segmenter, sets, out, about, prompts, replace, progress)


def _refuse_misleading(data: DataSet, accept: Collection[str], notify: Callable[[str], None] | None) -> None:
    """Run the data check on a set, as before training."""
    report = check_items(data.name, {data.split: list({id(case.item): case.item for case in data.cases}.values())})
    for kind, count in report.counts().items():
        first = report.of(kind)[0]
        if notify is not None and first.severity != NOTE:
            notify(f"Data check of {data.name}: {count} x {kind}, such as: {first.sentence}")
    report.refuse(accept, "Measuring")


def about_model(
    name: str,
    segmenter: Segmenter,
    weights: str,
    prompts: EvaluationPrompts,
    threshold: float,
    threshold_from: str,
    tolerance: float = TOLERANCE,
    seen: Sequence[str] | None = None,
    trained_level: str = "",
) -> About:
    """What the numbers will depend on; parameters as in `results.About`."""
    card: ModelCard = segmenter.card
    levels, wording = ((trained_level,), UPSTREAM) if trained_level else trained_prompts(card.training)
    return About(
        model=name,
        title=card.title,
        family=card.family,
        weights=weights,
        trained_on=trained_on(card.training) if seen is None else tuple(seen),
        threshold=threshold,
        threshold_from=threshold_from,
        tolerance=tolerance,
        wording=prompts.wording,
        seed=prompts.seed,
        software=__version__,
        torch=importlib.metadata.version("torch"),
        device=str(segmenter.device),
        precision=segmenter.precision,
        trained_levels=levels,
        trained_wording=wording,
        architecture=card.training.get("recipe", {}).get("model", {}).get("sizes", {}).get("architecture", ""),
    )


def measure_sets(
    segmenter: Segmenter,
    sets: Sequence[DataSet],
    out: Path,
    about: About,
    prompts: EvaluationPrompts,
    replace: bool = False,
    progress: Progress = iter,
) -> Results:
    """Measure set by set, going on where an interruption was, and write the folder of results."""
    state, measured = ResumeState(out.with_name(f"{out.name}.unfinished"), about, prompts), Measurements()
    for data in sets:
        found = state.load(data)
        if found is None:
            found = measure(
                segmenter, data, prompts, data.vocabulary, about.threshold, about.tolerance, progress=progress
            )
            state.save(data, found)
        measured.scores += found.scores
        measured.calibration |= found.calibration
    if not measured.scores:
        raise ValueError("None of these cases has a prompt of the kinds and levels that were asked for.")
    with making_folder(out, replace) as folder:
        write_results(folder, about, {data.name: _facts(data) for data in sets}, measured)
    state.remove()
    return read_results(out)


def _facts(data: DataSet) -> MeasuredSet:
    return MeasuredSet(data.split, data.sha256, len(data.cases), data.missing, data.grouped_by)


def _check_out(out: Path, replace: bool) -> None:
    if not out.exists():
        return
    if not (out / SUMMARY_FILE).is_file():
        raise ValueError(f"{out} holds something that is no result; choose another folder.")
    if not replace:
        raise ValueError(f"{out} holds results already; choose another folder, or replace them with --replace.")
