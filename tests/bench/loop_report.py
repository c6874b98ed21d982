"""Tables and plot of `loop.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from loop_cases import Task

from napari_medvlsm.core.statistics import Estimate, estimate, paired

# Okabe and Ito's colours, which people who see few colours tell apart; the marks differ too.
ARMS = {
    "chosen": ("chosen cases", "#0072b2", "o"),
    "random": ("cases in random order", "#e69f00", "s"),
    "unet": ("UNet, random order", "#999999", "^"),
    "nearest": ("nearest case's mask, untrained", "#cc79a7", "x"),
}

BASE = "base as it is"
# How many targets of other kinds of scans each scan of the hold-out is asked for.
ELSEWHERE = 2


@dataclass(frozen=True)
class Held:
    """Measured on the hold-out: groups of its cases, Dice by kind of prompt (None where not asked), false alarms.

    `older` is Dice by name on test scans of the base's own sets, by target; empty where a model takes no words.
    `alone` is the same of the trained weights without the base that the model keeps; empty where it keeps none.
    """

    groups: list[str]
    dice: dict[str, list[float | None]]
    absent: list[float]
    older: dict[str, list[float]] = field(default_factory=dict)
    alone: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """A round that was played.

    `cases` are places in the pool, `effort` is of its new ones, `kept` the part of the change that was kept; times are
    seconds, those of the training by the clock and of the core that it was busy on.
    """

    task: str
    seed: int
    arm: str
    size: int
    cases: list[int]
    reasons: list[str]
    effort: list[float]
    threshold: float
    kept: float
    val_dice: float
    choosing: float
    training: float
    busy: float
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.task}, {self.arm}, {self.size} cases, seed {self.seed}"

    @property
    def result(self) -> Held:
        return Held(**self.held)

    @property
    def dice(self) -> float:
        """Mean by name."""
        return float(np.mean([value for value in self.result.dice["class"] if value is not None]))


def by_group(held: Sequence[Held], kind: str, other: str = "") -> Estimate:
    """Points of Dice of a kind of prompt over all seeds, or less that of another kind; whole groups are resampled."""
    values, groups = [], []
    for one in held:
        second = one.dice[other] if other else [0.0] * len(one.groups)
        for a, b, group in zip(one.dice[kind], second, one.groups, strict=True):
            if a is not None and b is not None:
                values.append(100 * (a - b))
                groups.append(group)
    return estimate(values, groups)


def print_tables(
    tasks: Sequence[Task], rounds: Sequence[Round], untrained: Mapping[str, Held], nearest: Mapping[str, list[float]]
) -> None:
    """By task: one row for each arm and number of cases."""
    for task in tasks:
        own = [r for r in rounds if r.task == task.name]
        held = untrained[task.name]
        groups = len(set(held.groups))
        print(f"\n{task.title}: {len(held.groups)} hold-out scans of {groups} groups; points of Dice (95 % interval)\n")
        head = ["arm", "cases", "seeds", "Dice by name", "by sentence", "side margin", "size margin", "cannot show"]
        more = ["other scans", "changed pixels", "change kept", "seconds", "of the core"]
        print("| " + " | ".join([*head, *more]) + " |")
        print("|---|" + "---:|" * 12)
        print("| " + " | ".join([BASE, "0", "", *_measures([held]), "", "", "", ""]) + " |")
        for arm in ("chosen", "random", "unet"):
            for size in task.sizes:
                if some := [r for r in own if r.arm == arm and r.size == size]:
                    effort = [value for r in some for value in r.effort]
                    measures = _measures([r.result for r in some], words=arm != "unet")
                    cells = [ARMS[arm][0], str(size), str(len(some)), *measures]
                    cells.append(f"{100 * np.mean(effort):.1f} %" if effort else "")
                    cells.append("" if arm == "unet" else f"{100 * np.mean([r.kept for r in some]):.0f} %")
                    cells += [f"{np.mean([r.training for r in some]):.0f}", f"{np.mean([r.busy for r in some]):.0f}"]
                    print("| " + " | ".join(cells) + " |")
        for size in task.sizes:
            if some := [r for r in own if r.arm == "random" and r.size == size]:
                found = by_group([_nearest(r, nearest) for r in some], "class")
                print("| " + " | ".join([ARMS["nearest"][0], str(size), str(len(some)), _said(found)]) + " |")
        _print_pairs(task, own, held)
        _print_older(task, own, held)


def _print_older(task: Task, rounds: Sequence[Round], untrained: Held) -> None:
    """What was forgotten: Dice on the base's own targets, and over all of their scans less the base's."""
    counts = ", ".join(f"{len(values)} of {target}" for target, values in untrained.older.items())
    print(f"\n{task.title}: the base's own targets by name, mean Dice in points on test scans ({counts})\n")
    print("| " + " | ".join(["arm", "cases", "seeds", *untrained.older, "all, less the base"]) + " |")
    print("|---|" + "---:|" * (len(untrained.older) + 3))
    means = [f"{100 * np.mean(values):.1f}" for values in untrained.older.values()]
    print("| " + " | ".join([BASE, "0", "", *means, ""]) + " |")
    for arm, size, alone in product(("chosen", "random"), task.sizes, (False, True)):
        results = [r.result for r in rounds if r.arm == arm and r.size == size]
        if some := [one.alone if alone else one.older for one in results if one.alone or not alone]:
            title = f"{ARMS[arm][0]}, its weights alone" if alone else ARMS[arm][0]
            means = [f"{100 * np.mean([one[target] for one in some]):.1f}" for target in untrained.older]
            changes, scans = [], []
            for one in some:
                for target, before in untrained.older.items():
                    changes += [100 * (a - b) for a, b in zip(one[target], before, strict=True)]
                    scans += [f"{target} {place}" for place in range(len(before))]
            change = _said(estimate(changes, scans))
            print("| " + " | ".join([title, str(size), str(len(some)), *means, change]) + " |")


def _measures(held: Sequence[Held], words: bool = True) -> list[str]:
    """Cells of a row; without those of sentences and of what is absent where a model takes no words."""
    sentence = words and any(value is not None for one in held for value in one.dice["oracle"])
    cells = [_said(by_group(held, "class"))]
    cells.append(_said(by_group(held, "oracle")) if sentence else "")
    cells += [_said(by_group(held, "oracle", kind)) if sentence else "" for kind in ("wrong side", "wrong size")]
    if not words:
        return [*cells, "", ""]
    # The questions for targets of other kinds of scans come last.
    cut = [len(one.absent) - ELSEWHERE * len(one.groups) for one in held]
    same = [value for one, place in zip(held, cut, strict=True) for value in one.absent[:place]]
    other = [value for one, place in zip(held, cut, strict=True) for value in one.absent[place:]]
    return [*cells, *(f"{100 * np.mean(asked):.1f} % of {len(asked)}" for asked in (same, other))]


def _print_pairs(task: Task, rounds: Sequence[Round], untrained: Held) -> None:
    """Two arms, or one and the base as it is, on the same cases of the hold-out, seed by seed."""
    print()
    titles = {BASE: BASE} | {arm: title for arm, (title, _, _) in ARMS.items()}
    for first, second in ((BASE, "chosen"), (BASE, "random"), ("random", "chosen"), ("unet", "random")):
        for size in task.sizes:
            found = {(r.arm, r.seed): r.result for r in rounds if r.size == size}
            found |= {(BASE, seed): untrained for _, seed in found}
            seeds = [seed for arm, seed in found if arm == second and (first, seed) in found]
            if not seeds:
                continue
            sides: list[list[float]] = [[], []]
            groups: list[str] = []
            for seed in seeds:
                for side, arm in zip(sides, (first, second), strict=True):
                    side += [100 * (value or 0.0) for value in found[arm, seed].dice["class"]]
                groups += found[first, seed].groups
            pair = paired(sides[0], sides[1], groups)
            count = f"{len(seeds)} seeds" if len(seeds) > 1 else "1 seed"
            print(
                f"- {size} cases, {titles[second]} less {titles[first]} ({count}): "
                f"{_said(pair.difference)}, better in {pair.wins}, worse in {pair.losses}"
            )


def _nearest(played: Round, nearest: Mapping[str, list[float]]) -> Held:
    return Held(played.result.groups, {"class": list(nearest[played.name])}, [])


def _said(found: Estimate) -> str:
    if not found.cases:
        return ""
    return f"{found.mean:z.1f} ({found.low:z.1f} to {found.high:z.1f})"


def save_plot(
    tasks: Sequence[Task],
    rounds: Sequence[Round],
    untrained: Mapping[str, Held],
    nearest: Mapping[str, list[float]],
    path: Path,
) -> None:
    """By task Dice over the number of corrected cases, and below it whether the words still count."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(tasks), figsize=(5.5 * len(tasks), 8), layout="constrained", squeeze=False)
    for column, task in enumerate(tasks):
        own = [r for r in rounds if r.task == task.name]
        above, below = axes[0][column], axes[1][column]
        places = {0: 0} | {size: place for place, size in enumerate(task.sizes, 1)}
        start = untrained[task.name]
        for number, (arm, (title, color, mark)) in enumerate(ARMS.items()):
            source = "random" if arm == "nearest" else arm
            curve = {}
            for size in task.sizes:
                some = [r for r in own if r.arm == source and r.size == size]
                if some:
                    curve[size] = [_nearest(r, nearest) if arm == "nearest" else r.result for r in some]
            if arm in ("chosen", "random") and curve:
                curve = {0: [start], **curve}
            shift = 0.08 * (number - 1.5)
            _curve(
                above,
                [places[s] + shift for s in curve],
                [by_group(h, "class") for h in curve.values()],
                title,
                color,
                mark,
            )
            if arm in ("chosen", "random"):
                for kind, line in (("wrong side", "-"), ("wrong size", ":")):
                    found = [by_group(held, "oracle", kind) for held in curve.values()]
                    label = f"{kind}, {title}"
                    _curve(below, [places[s] + shift for s in curve], found, label, color, mark, line)
        above.set_title(task.title, fontsize=11)
        above.set_ylabel("Dice by name, points (95 % interval)")
        above.set_ylim(0, 100)
        below.set_ylabel("true sentence less a wrong one, points")
        below.axhline(0, color="#555555", linewidth=0.8)
        for axis in (above, below):
            axis.set_xticks(list(places.values()), [str(size) for size in places])
            axis.set_xlabel("corrected cases")
            axis.set_xlim(-0.3, len(task.sizes) + 0.3)
            axis.grid(axis="y", color="#dddddd")
            axis.set_axisbelow(True)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    figure.savefig(path, dpi=110)


def _curve(  # type: ignore[no-untyped-def]
    axis, places: Sequence[float], found: Sequence[Estimate], label: str, color: str, mark: str, line: str = "-"
) -> None:
    kept = [(x, e) for x, e in zip(places, found, strict=True) if e.cases]
    if not kept:
        return
    means = [e.mean for _, e in kept]
    around = [[e.mean - e.low for _, e in kept], [e.high - e.mean for _, e in kept]]
    axis.errorbar([x for x, _ in kept], means, around, color=color, marker=mark, linestyle=line, capsize=3, label=label)
