"""The chart of effort: every accepted outline in the order of work, and the mean of each model version."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_medvlsm.core.projects.ledger import MEASURES, Effort, summary

# Okabe and Ito's colours, which people tell apart whatever their colour vision, without black; and a sign for each.
_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2")
_SIGNS = "osD^vPX"
_UNITS = {"seconds": "seconds of work", "accepted unchanged": "accepted unchanged (1: yes)"}
# Of numbers and legend, to the other letters.
_SMALL = 0.8
# Days that are named on the axis.
_DAYS = 7


def draw_chart(
    figure: Figure,
    ledger: Sequence[Effort],
    measure: str,
    ink: str = "black",
    ground: str = "white",
    letters: float = 10.0,
) -> list[Effort]:
    """Draw a measure (a key of `MEASURES`) over time and by model version.

    Parameters
    ----------
    figure : Figure
        What it held is replaced.
    ledger : sequence of Effort
    measure : str
    ink, ground : str
        Colours of text and background.
    letters : float
        Their size in points; those of numbers and legend are smaller.

    Returns
    -------
    list of Effort
        The outlines that the measure is known of, at 0, 1, 2 ... of the horizontal axis on the left.
    """
    value = MEASURES[measure][0]
    shown = sorted((e for e in ledger if not math.isnan(value(e))), key=lambda effort: effort.at)
    figure.clear()
    figure.set_facecolor(ground)
    time, means = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for axes in (time, means):
        _plain(axes, ink, ground, letters)
    versions = list(dict.fromkeys(effort.model_version for effort in ledger))
    found = summary(shown)
    for number, version in enumerate(versions):
        color, sign = _COLORS[number % len(_COLORS)], _SIGNS[number % len(_SIGNS)]
        places = [place for place, effort in enumerate(shown) if effort.model_version == version]
        if not places:
            continue
        values = [value(shown[place]) for place in places]
        time.plot(places, values, sign, color=color, markersize=5, alpha=0.8, label=f"{version} ({len(places)})")
        mean = found[version][measure]
        time.hlines(mean.mean, min(places) - 0.4, max(places) + 0.4, color=color, linewidth=1.5)
        below, above = (0.0 if math.isnan(b) else abs(mean.mean - b) for b in (mean.low, mean.high))
        means.errorbar(number, mean.mean, [[below], [above]], fmt=sign, color=color, capsize=6, markersize=8)
    _name_days(time, shown)
    time.set_xlabel("outlines, in the order of work")
    time.set_ylabel(_UNITS.get(measure, measure))
    means.set_xticks([])
    means.set_xlim(-0.7, max(1, len(versions)) - 0.3)
    means.set_xlabel("mean, 95 % interval")
    if shown:
        legend = time.legend(loc="best", fontsize=_SMALL * letters, facecolor=ground, edgecolor=ink, labelcolor=ink)
        legend.get_frame().set_alpha(0.7)
    else:
        time.text(0.5, 0.5, "no outline has this measure", color=ink, ha="center", transform=time.transAxes)
    return shown


def save_chart(ledger: Sequence[Effort], measure: str, path: Path) -> None:
    """Save the chart as a picture; its kind is that of the name (PNG, PDF or SVG)."""
    figure = Figure(figsize=(10, 4.5), dpi=150, layout="constrained")
    draw_chart(figure, ledger, measure)
    figure.savefig(path)


def _plain(axes: Axes, ink: str, ground: str, letters: float) -> None:
    axes.set_facecolor(ground)
    axes.tick_params(colors=ink, labelsize=_SMALL * letters)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(ink)
        label.set_fontsize(letters)
    for side, spine in axes.spines.items():
        spine.set_color(ink)
        spine.set_visible(side in ("left", "bottom"))
    axes.grid(axis="y", color=ink, alpha=0.15)


def _name_days(axes: Axes, shown: Sequence[Effort]) -> None:
    """Name the first outline of a day, or of every second, third ... day where there are many."""
    days = [effort.at.astimezone().date() for effort in shown]
    starts = [place for place, day in enumerate(days) if place == 0 or day != days[place - 1]]
    named = starts[:: max(1, math.ceil(len(starts) / _DAYS))]
    axes.set_xticks(named, [f"{days[place]:%d %b}" for place in named])
    for place in named[1:]:
        axes.axvline(place - 0.5, color=axes.xaxis.label.get_color(), alpha=0.15, linewidth=1)
    axes.set_xlim(-0.7, max(1, len(shown)) - 0.3)
    if len(shown):
        low, high = axes.get_ylim()
        low = min(0.0, low)
        axes.set_ylim(low, high + 0.04 * (high - low))  # no sign is cut off
