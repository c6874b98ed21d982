"""Results in one table: models across data sets, and the paper's tables with ours beside. Markdown, Dice in percent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medvlsm_training.config import IMAGE_ONLY, UPSTREAM
from medvlsm_training.recipes import load_recipe, shipped_recipes
from napari_medvlsm.core.datasets.catalogue import published
from napari_medvlsm.core.models.families import FAMILIES
from napari_medvlsm.core.prompts.upstream import load_datasets
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import About, Results
from napari_medvlsm.core.runs.scores import MODEL, ORIGINAL
from napari_medvlsm.core.runs.summary import ALL_TARGETS

# Kinds of prompts that tell what the annotations say.
_RIGHT = (PromptKind.ORACLE.value, PromptKind.ANNOTATED.value)
_IMAGE_ONLY_TITLES = {"unet": "UNet", "unet++": "UNet++", "deeplabv3+": "DeepLabV3+"}
_UPSTREAMS_FAULTS = (
    "What upstream's code for the pooled image-only models does wrong, and ours does not, so that these rows differ: "
    "images with values from 0 to 255 enter ImageNet's normalisation, which expects 0 to 1; the validation Dice leaves "
    "out plane 0, the polyp; and masks are found by a pattern of names that gives 22 of the 386 training images of "
    "CVC-ClinicDB another image's mask."
)
ENDOSCOPY = frozenset({"kvasir_polyp", "clinicdb_polyp", "bkai_polyp"})
EIGHT = ENDOSCOPY | {"isic", "dfu", "camus", "busi", "chexlocalize"}
ZERO_SHOT, INDIVIDUAL, POOLED, ENDOSCOPY_POOLED = "zero-shot", "individual", "pooled", "endoscopy pooled"


def trained_as(about: About, tested: str) -> str:
    """How the paper calls such training when a model is tested on a set; "" where it has no such row."""
    if about.trained_on is None:
        return ""
    seen = frozenset(about.trained_on)
    known = {frozenset(): ZERO_SHOT, frozenset({tested}): INDIVIDUAL, EIGHT: POOLED, ENDOSCOPY: ENDOSCOPY_POOLED}
    return known.get(seen, "")


def cross_table(results: Sequence[Results], metric: str = "dice", size: str = ORIGINAL, kind: str = "") -> str:
    """One row for each model, kind and level, one column for each set.

    Parameters
    ----------
    results : sequence of Results
    metric : str
        One of those in the rows; fractions are shown in percent, distances as they are.
    size : str
        "original" or "model".
    kind : str
        Only this kind of prompt.

    Returns
    -------
    str
        Markdown. A star marks a set that the model was not trained on.
    """
    names = list(dict.fromkeys(name for result in results for name in result.sets))
    head = ["model", "prompt", *names]
    lines, starred = [], False
    for number, result in enumerate(results, 1):
        rows = [r for r in result.rows if r["size"] == size and kind in ("", r["kind"]) and _whole(result, r)]
        for asked in dict.fromkeys((r["kind"], r["level"], r["wording"]) for r in rows):
            cells = []
            for name in names:
                row = next((r for r in rows if (r["kind"], r["level"], r["wording"], r["set"]) == (*asked, name)), None)
                text = _shown(row, metric)
                unseen = bool(text) and result.about.trained_on is not None and name not in result.about.trained_on
                starred |= unseen
                cells.append(f"{text} *" if unseen else text)
            lines.append([f"{result.about.title} [{number}]", f"{asked[0]}, {asked[1].upper()} ({asked[2]})", *cells])
    what = f"{metric}, mean over the cases of a set with its 95 % interval, {size} size."
    stars = " \\* a set that the model was not trained on." if starred else ""
    return "\n\n".join([f"{what}{stars}", _markdown(head, lines), _notes(results)])


def paper_tables(results: Sequence[Results], size: str = MODEL) -> str:
    """Table 2 and the prompt tables of the paper: a line with the published numbers and one with ours.

    A number of ours fills a cell only where the level that the model was trained with, the level that it was asked and
    the wording of both are those of the cell. Table 2 does not say its levels: those of `recipes/paper`, from
    upstream's scripts, are taken. Image-only models, which pass over the text, are asked by the name.

    Parameters
    ----------
    results : sequence of Results
    size : str
        "model" as upstream's own evaluation, or "original".

    Returns
    -------
    str
        Markdown; what nobody measured stays empty.
    """
    parts = [
        f"Dice in percent, mean over all cases of the test split; ours with its 95 % interval, at {size} size. "
        "Upstream does not say at which size its numbers were taken. Ours stand only where a model was trained and "
        "asked with prompts of the cell's level in upstream's wording (image-only models: asked by name)."
    ]
    parts += ["## Table 2", *_table_2(results, size)]
    parts += ["## Prompts, zero-shot", *_prompt_table(results, "zero_shot", size)]
    parts += ["## Prompts, fine-tuned", *_prompt_table(results, "fine_tuned", size)]
    if left := _without_row(results):
        parts.append("Trained otherwise than any row here, so not in these tables: " + "; ".join(left) + ".")
    return "\n\n".join([*parts, _UPSTREAMS_FAULTS, _notes(results)])


def _table_2(results: Sequence[Results], size: str) -> Iterator[str]:
    table = published()["table_2"]
    titles = [load_datasets()[name].title for name in table["sets"]]
    lines = []
    for row in table["rows"]:
        lines.append([row["trained_on"], row["model"], "published", *_numbers(row["dice"], 2)])
        if row["model"] != "SOTA":
            trained = row["trained_on"]
            own = [
                _ours(results, trained, row["model"], name, _upstream_level(trained, name), size)
                for name in table["sets"]
            ]
            lines.append(["", "", "ours", *own])
    yield f"Published: {table['source']}. {table['note']}"
    yield _markdown(["trained on", "model", "", *titles], lines)


def _upstream_level(trained: str, tested: str) -> str:
    """The level of the prompts with which upstream's scripts train for a cell of Table 2; "" where there is no such."""
    pools = {POOLED: "pooled", ENDOSCOPY_POOLED: "endoscopy_pooled"}
    recipe = f"paper/{pools.get(trained, tested)}"
    return next(iter(load_recipe(recipe).prompts.mix)) if recipe in shipped_recipes() else ""


def _prompt_table(results: Sequence[Results], name: str, size: str) -> Iterator[str]:
    table = published()[name]
    trained = ZERO_SHOT if name == "zero_shot" else INDIVIDUAL
    lines = []
    for row in table["rows"]:
        lines.append([row["set"], row["model"], "published", *_numbers(row["dice"], 1)])
        own = [_ours(results, trained, row["model"], row["set"], level, size) for level in table["levels"]]
        lines.append(["", "", "ours", *own])
    yield f"Published: {table['source']}. {table['note']}"
    yield _markdown(["set", "model", "", *(level.upper() for level in table["levels"])], lines)


def _ours(results: Sequence[Results], trained: str, model: str, name: str, level: str, size: str) -> str:
    """Every result of ours for a cell, with the number of its note."""
    cells = []
    for number, result in enumerate(results, 1):
        about = result.about
        if (
            _family(result) != model
            or trained_as(about, name) != trained
            or name not in result.sets
            or result.sets[name].split != "test"
        ):
            continue
        image_only = about.family == IMAGE_ONLY
        if (
            not image_only
            and trained != ZERO_SHOT
            and (about.trained_levels, about.trained_wording) != ((level,), UPSTREAM)
        ):
            continue
        asked = [("class", "p1", "")] if image_only else [(kind, level, UPSTREAM) for kind in _RIGHT]
        rows = [
            row
            for row in result.rows
            if (row["set"], row["size"]) == (name, size)
            and (row["kind"], row["level"], "" if image_only else row["wording"]) in asked
            and _whole(result, row)
        ]
        cells += [f"{_shown(row, 'dice')} [{number}]" for row in rows[:1]]
    return "; ".join(cells)


def _family(result: Results) -> str:
    """The paper's name of a model's family; "" of one that it does not have."""
    if result.about.family == IMAGE_ONLY:
        return _IMAGE_ONLY_TITLES.get(result.about.architecture, "")
    family = FAMILIES.get(result.about.family)
    return family.title if family else ""


def _without_row(results: Sequence[Results]) -> list[str]:
    """Results that no table of the paper can hold."""
    left = []
    for number, result in enumerate(results, 1):
        for name, facts in result.sets.items():
            if not trained_as(result.about, name) or not _family(result) or name not in load_datasets():
                left.append(f"[{number}] on {name}")
            elif facts.split != "test":
                left.append(f"[{number}] on {name} (split {facts.split})")
    return left


def _whole(result: Results, row: Mapping[str, Any]) -> bool:
    """Whether a row is of all the targets that were measured in its set."""
    return row["target"] == ALL_TARGETS or not any(
        other["target"] == ALL_TARGETS
        for other in result.rows
        if (other["set"], other["kind"]) == (row["set"], row["kind"])
    )


def _shown(row: Mapping[str, Any] | None, metric: str) -> str:
    """A mean with its interval: fractions in percent, distances with their unit."""
    if row is None:
        return ""
    texts = []
    for name, unit in ((metric, ""), (f"{metric}_px", " px"), (f"{metric}_mm", " mm")):
        found = row.get(name)
        if not found or found["mean"] is None:
            continue
        distance = metric == "hd95"
        scale = 1 if distance else 100
        bounds = [found["low"], found["high"]]
        around = "" if None in bounds else f" ({bounds[0] * scale:.1f} to {bounds[1] * scale:.1f})"
        texts.append(f"{found['mean'] * scale:.1f}{around}{unit if distance else ''}")
    return "; ".join(texts)


def _numbers(values: Iterable[float | None], digits: int) -> list[str]:
    return ["" if value is None else f"{value:.{digits}f}" for value in values]


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _notes(results: Sequence[Results]) -> str:
    """What the numbers in brackets stand for."""
    lines = []
    for number, result in enumerate(results, 1):
        data = ", ".join(
            f"{name} {facts.split} ({facts.cases} cases, data {facts.sha256[:12]})"
            for name, facts in result.sets.items()
        )
        lines.append(f"- [{number}] {result.folder.name}: {result.about.line}; {data}.")
    return "\n".join(lines)
