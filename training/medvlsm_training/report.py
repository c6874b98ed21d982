"""One self-contained HTML file about a run: what was trained, how good it is, and scans with outlines to judge by eye.

It holds scans of the test split, so it goes where these may go.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from medvlsm_training.evaluation.data import DataSet
from napari_medvlsm.core.datasets.items import Mask
from napari_medvlsm.core.images import to_unit_rgb
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.models.families import FAMILIES
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.runs.events import Epoch
from napari_medvlsm.core.runs.folder import CURVES_PICTURE, Run
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import Results, trained_on
from napari_medvlsm.core.runs.scores import ORIGINAL, Score
from napari_medvlsm.core.runs.summary import ALL_TARGETS
from napari_medvlsm.core.statistics import RESAMPLES

# Orange and sky blue of Okabe and Ito (https://jfly.uni-koeln.de/color/): apart for every kind of colour vision, and
# for eyes that tell no colours by the dashes.
TRUE_COLOR, MODEL_COLOR = "#e69f00", "#56b4e9"
# Side of a plotted scan, in inches, and dots per inch.
_SIDE, _DPI = 3.2, 130


@dataclass(frozen=True)
class Example:
    """A plotted case: `rank` is "worst", "median" or "best", `picture` a data URI."""

    rank: str
    case: str
    target: str
    prompt: str
    dice: float
    picture: str


def write_report(
    path: Path,
    card: ModelCard,
    results: Results | None,
    scores: Sequence[Score],
    segmenter: Segmenter,
    sets: Sequence[DataSet],
) -> None:
    """Write the report, and `curves.png` beside it.

    Parameters
    ----------
    path : Path
        In the run's folder, which may hold `curves.csv`.
    card : ModelCard
        Its threshold is that of the outlines.
    results : Results or None
        On the test split; None where there is none.
    scores : sequence of Score
        Of the same.
    segmenter : Segmenter
        Segments the plotted cases once more.
    sets : sequence of DataSet
        Those of the results.
    """
    epochs = Run(path.parent).epochs()
    curves = ""
    if epochs:
        png = plot_curves(epochs)
        with replacing(path.parent / CURVES_PICTURE) as temporary:
            temporary.write_bytes(png)
        curves = _data_uri(png, "png")
    examples = {data.name: plot_examples(data, scores, segmenter, card.threshold) for data in sets}
    seen = trained_on(card.training)
    content = _template().render(
        card=card,
        family=FAMILIES[card.family].title if card.family in FAMILIES else card.family,
        results=results,
        main=[] if results is None else _rows(results, [PromptKind.CLASS.value]),
        more=[] if results is None else _rows(results, [k.value for k in PromptKind if k is not PromptKind.CLASS]),
        facts={kind.value: kind.attributes_from for kind in PromptKind},
        all_targets=ALL_TARGETS,
        absent=PromptKind.ABSENT.value,
        resamples=RESAMPLES,
        unseen=[data.name for data in sets if seen is not None and data.name not in seen],
        curves=curves,
        epochs=epochs,
        best=max(epochs, key=lambda epoch: -1.0 if epoch.val_dice is None else epoch.val_dice, default=None),
        examples={name: found for name, found in examples.items() if found},
        recipe=_flat(card.training.get("recipe", {})),
        environment={k: v for k, v in card.training.items() if k != "recipe"},
        colors={"true": TRUE_COLOR, "model": MODEL_COLOR},
    )
    with replacing(path) as temporary:
        temporary.write_text(content, "utf-8")


def choose_examples(scores: Sequence[Score]) -> dict[str, Score]:
    """The worst, median and best of the cases that show their target, prompted by name; fewer if there are fewer."""
    shown = sorted(
        (s for s in scores if (s.kind, s.size) == (PromptKind.CLASS.value, ORIGINAL) and s.present),
        key=lambda s: (s.dice, s.case),
    )
    if not shown:
        return {}
    ranked = {"worst": shown[0], "median": shown[len(shown) // 2], "best": shown[-1]}
    return ranked if len(shown) > 2 else dict(zip(("worst", "best"), shown, strict=False))


def plot_examples(data: DataSet, scores: Sequence[Score], segmenter: Segmenter, threshold: float) -> list[Example]:
    """The worst, median and best case of a set, plotted."""
    cases = {data.label(case).case: case for case in data.cases}
    plotted = []
    for rank, score in choose_examples([s for s in scores if s.set == data.name]).items():
        case = cases[score.case]
        scan = read_scan(case.image)
        segmenter.set_image(scan)
        (answer,) = segmenter.segment(score.prompt)
        picture = plot_case(to_unit_rgb(scan.pixels), case.load_mask(), answer.mask(threshold))
        plotted.append(Example(rank, score.image, score.target, score.prompt, score.dice, _data_uri(picture, "jpeg")))
    return plotted


def plot_case(image: npt.NDArray[np.floating[Any]], truth: Mask, found: Mask) -> bytes:
    """A scan (H, W, 3) in [0, 1] with both outlines, as JPEG."""
    rows, cols = truth.shape
    scale = _SIDE / max(rows, cols)
    figure = Figure(figsize=(max(0.5, cols * scale), max(0.5, rows * scale)), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(np.clip(image, 0, 1), interpolation="nearest", aspect="auto")
    _outline(axes, truth, TRUE_COLOR, "solid", 2.2)
    _outline(axes, found, MODEL_COLOR, "dashed", 1.8)
    axes.set_xlim(-0.5, cols - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    target = io.BytesIO()
    figure.savefig(target, format="jpeg", pil_kwargs={"quality": 88})
    return target.getvalue()


def plot_curves(epochs: Sequence[Epoch]) -> bytes:
    """Losses, and Dice and false positive rate of the validation, by epoch, as PNG."""
    figure = Figure(figsize=(9, 3), dpi=_DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    number = [epoch.epoch + 1 for epoch in epochs]
    lines = (
        (left, "train_loss", "training", "#0072b2", "-"),
        (left, "val_loss", "validation", "#d55e00", "--"),
        (right, "val_dice", "Dice where the target is there", "#0072b2", "-"),
        (right, "val_false_positive_rate", "false positive rate", "#d55e00", "--"),
    )
    for axes, column, label, color, style in lines:
        values = [math.nan if (v := getattr(epoch, column)) is None else v for epoch in epochs]
        if not all(map(math.isnan, values)):
            axes.plot(number, values, style, color=color, label=label, marker="o", markersize=3)
    left.set_title("Loss", fontsize=10)
    right.set_title("Validation", fontsize=10)
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _outline(axes: Axes, mask: Mask, color: str, style: str, width: float) -> None:
    if not mask.any():
        return
    # With a frame of background, what touches the border is outlined there too.
    framed = np.pad(mask, 1).astype(float)
    outline = axes.contour(
        np.arange(-1, mask.shape[1] + 1),
        np.arange(-1, mask.shape[0] + 1),
        framed,
        levels=[0.5],
        colors=[color],
        linestyles=style,
        linewidths=width,
    )
    outline.set_path_effects([withStroke(linewidth=width + 1.2, foreground="black", alpha=0.6)])


def _rows(results: Results, kinds: Sequence[str]) -> list[Mapping[str, Any]]:
    rows = [row for row in results.rows if row["size"] == ORIGINAL and row["kind"] in kinds]
    # Of what a scan cannot show, no single thing is of interest.
    whole = {(row["set"], row["kind"]) for row in rows if row["target"] == ALL_TARGETS}
    absent = PromptKind.ABSENT.value
    rows = [r for r in rows if r["kind"] != absent or r["target"] == ALL_TARGETS or (r["set"], absent) not in whole]
    return sorted(rows, key=lambda row: kinds.index(row["kind"]))


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Keys in keys with dots, as `medvlsm train` takes them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{above}{key}.")
        elif key == "sources":
            flat[key] = ", ".join(str(source["folder"]) for source in value)
        else:
            flat[f"{above}{key}"] = value
    return flat


def _data_uri(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    made = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return made.get_template("report.html.j2")
