"""What the outlines of a project cost, as a person looks at it: which measure, which target, which two models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from psygnal import Signal

from napari_medvlsm.core.projects.agreement import Agreement, compare, read_agreements, versions_of
from napari_medvlsm.core.projects.ledger import (
    WITHOUT,
    Effort,
    did_it_help,
    of_target,
    read_ledger,
    summary,
    write_ledger,
)
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.statistics import Estimate


@dataclass(frozen=True, eq=False)
class Report:
    """What is shown.

    Attributes
    ----------
    ledger : sequence of Effort
        Of the target.
    lines : mapping
        Of the table: means by line and measure.
    answers : sequence of str
        Whether the second model helped, a sentence for each target; empty where there are no two models.
    same_scans : sequence of str
        Which of the two came nearer to what was accepted on the scans that both predicted, for each target.
    """

    ledger: Sequence[Effort]
    lines: Mapping[str, Mapping[str, Estimate]]
    answers: Sequence[str]
    same_scans: Sequence[str]


class EffortReport:
    """The ledger of a project, read and reckoned beside the window.

    Parameters
    ----------
    store : ProjectStore
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    """

    changed = Signal()
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, store: ProjectStore, run: Callable[..., None]) -> None:
        self._store, self._run = store, run
        self._ledger: list[Effort] = []
        self._agreements: list[Agreement] = []
        self._chosen = False
        self.measure, self.target, self.by = "seconds", "", "version"
        self.first = self.second = ""
        self.report: Report | None = None
        self._request: object = None
        self._closed = False

    @property
    def targets(self) -> list[str]:
        """What was outlined."""
        return list(dict.fromkeys(effort.target for effort in self._ledger))

    @property
    def versions(self) -> list[str]:
        """The model versions in the order in which they came; work without a model is the first."""
        known = dict.fromkeys(effort.model_version for effort in of_target(self._ledger, self.target))
        known |= dict.fromkeys(versions_of(a for a in self._agreements if self.target in ("", a.target)))
        return sorted(known, key=lambda version: version != WITHOUT)

    def start(self) -> None:
        """Read what there is, or read it again: the ledger, and then the predictions, which takes longer."""
        self._run(partial(read_ledger, self._store.database), self._on_ledger, self._fail)
        self._run(partial(read_agreements, self._store), self._on_agreements, self._fail)

    def choose(
        self,
        measure: str | None = None,
        target: str | None = None,
        by: str | None = None,
        versions: tuple[str, str] | None = None,
    ) -> None:
        """Look at something else: a measure, a target ("" for all), other lines, or two other models."""
        self.measure = self.measure if measure is None else measure
        self.by = self.by if by is None else by
        if target is not None and target != self.target:
            self.target = target
            versions = self._last_two()
        elif versions is not None:
            self._chosen = True
        self.first, self.second = versions or (self.first, self.second)
        self._reckon()

    def save(self, path: Path) -> None:
        """Write the ledger as a table (CSV), a line for each outline."""
        self._run(
            partial(write_ledger, of_target(self._ledger, self.target), path),
            lambda _: self._tell(f"Saved {path.name}.", False),
            self._fail,
        )

    def close(self) -> None:
        """Show and tell nothing any more."""
        self._closed = True

    def _last_two(self) -> tuple[str, str]:
        """The last two models, or no model and the only one."""
        last = self.versions[-2:]
        return (last[0], last[1]) if len(last) == 2 else ("", "")

    def _on_ledger(self, ledger: list[Effort]) -> None:
        self._ledger = ledger
        self._choose_two()

    def _on_agreements(self, agreements: list[Agreement]) -> None:
        self._agreements = agreements
        self._choose_two()

    def _choose_two(self) -> None:
        if not self._chosen:
            self.first, self.second = self._last_two()
        self._reckon()

    def _reckon(self) -> None:
        self._request = request = object()
        ledger = of_target(self._ledger, self.target)
        agreements = [a for a in self._agreements if self.target in ("", a.target)]

        def done(report: Report) -> None:
            if not self._closed and self._request is request:
                self.report = report
                self.changed.emit()

        self._run(partial(_reckoned, ledger, agreements, self.by, self.first, self.second), done, self._fail)

    def _fail(self, error: Exception) -> None:
        self._tell(str(error), True)

    def _tell(self, text: str, problem: bool) -> None:
        if not self._closed:
            self.message.emit(text, problem)


def _reckoned(ledger: Sequence[Effort], agreements: Sequence[Agreement], by: str, first: str, second: str) -> Report:
    two = bool(first and second and first != second)
    used = {effort.model_version for effort in ledger}
    answers = did_it_help(ledger, first, second) if two and {first, second} <= used else []
    nearer = compare(agreements, first, second) if two else []
    return Report(ledger, summary(ledger, by), [a.sentence for a in answers], [n.sentence for n in nearer])
