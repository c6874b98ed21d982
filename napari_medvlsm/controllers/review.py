"""Review: a second person looks at what was submitted, and accepts it or sends it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from psygnal import Signal

from napari_medvlsm.core.contours import Line, contours
from napari_medvlsm.core.differences import Differences, differences
from napari_medvlsm.core.images import Bytes, content_hash, to_screen
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.projects.errors import ProjectError
from napari_medvlsm.core.projects.outlines import PREDICTION
from napari_medvlsm.core.projects.states import State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import EVERYTHING, Case, CaseQuery, Event, Version
from napari_medvlsm.core.prompts import target_name

#: What waits for a second person: outlines, and answers that there is nothing.
WAITING = (State.SUBMITTED, State.ABSENT)
# Larger scans are shown at every second, third ... pixel; their outlines stay exact.
_LONGEST_SIDE = 4096
# The scan in view, the one before and the one ahead.
_SCANS_KEPT = 3


@dataclass(frozen=True)
class Item:
    """An outline to judge: a scan and a target."""

    case_id: int
    target: str


@dataclass(frozen=True)
class Side:
    """What one of the two pictures shows: a version, or the untouched prediction that it began from."""

    version: Version
    began_from: bool = False


@dataclass(frozen=True, eq=False)
class Look:
    """What the project says of an outline.

    Attributes
    ----------
    case : Case
    target : str
    versions : tuple of Version
        The oldest first.
    events : tuple of Event
        What was done, the oldest first.
    """

    case: Case
    target: str
    versions: tuple[Version, ...]
    events: tuple[Event, ...]

    @property
    def state(self) -> State:
        """Of the outline."""
        return self.case.states.get(self.target, State.UNSEEN)

    @property
    def current(self) -> Version | None:
        """What the outline is now."""
        return next((version for version in self.versions if version.current), None)

    @property
    def submitted(self) -> Event | None:
        """When it was handed over last, and by whom."""
        handed = [e for e in self.events if e.state in WAITING and e.version is not None]
        return handed[-1] if handed else None

    def sides(self) -> list[Side]:
        """All that a picture can show: the versions that are there, and what they began from unless that is one."""
        found: list[Side] = []
        for version in self.versions:
            if version.lost:
                continue
            kept = any(side.version.origin == PREDICTION for side in found)
            if version.predicted and version.origin != PREDICTION and not kept and version.current:
                found.append(Side(version, began_from=True))
            found.append(Side(version))
        return found


@dataclass(frozen=True, eq=False)
class ScreenScan:
    """A scan as it is shown: uint8 (h, w, 3), every `step`-th row and column of it."""

    rgb: Bytes
    step: int


@dataclass(frozen=True, eq=False)
class Pair:
    """What the two pictures show.

    Attributes
    ----------
    first, second : list of arrays of shape (N, 2)
        Their edges as (row, col) in pixels of the scan.
    differing : uint8 array (h, w) or None
        At every `step`-th pixel: 1 in the first alone, 2 in the second alone, 0 otherwise. None without a second.
    step : int
    differences : Differences or None
    """

    first: list[Line]
    second: list[Line]
    differing: Bytes | None
    step: int
    differences: Differences | None


class Review:
    """The outlines that wait, one of which is looked at.

    Everything is read and written beside the window; what comes late for an outline that is not in view any more is
    dropped.

    Parameters
    ----------
    store : ProjectStore
    run, write : callable
        ``run(function, done, failed)``: carries out a function beside the window; `write` what changes the project, so
        that it does not wait for what is being read.
    query : CaseQuery
        Which scans, in which order; the states and predictions that it asks for do not count.
    """

    changed = Signal()  # the list, what is looked at, or what the project says of it
    drawn = Signal()  # a picture is there, or gone
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem
    decided = Signal(int, str)  # case id and target of an outline that was changed

    def __init__(
        self,
        store: ProjectStore,
        run: Callable[..., None],
        write: Callable[..., None],
        query: CaseQuery = EVERYTHING,
    ) -> None:
        self._store, self._run, self._write = store, run, write
        self._query = _of_scans(query, WAITING)
        self.items: list[Item] = []
        self.place: int | None = None
        # States of what was decided here; the rest waits.
        self.answers: dict[Item, State] = {}
        self.look: Look | None = None
        self.first: Side | None = None
        self.second: Side | None = None
        self.scan: ScreenScan | None = None
        self.pair: Pair | None = None
        # Dice of each version with the first picture, by its id.
        self.agreements: dict[int, float] = {}
        self.loading = self.busy = False
        self._scans: dict[int, ScreenScan] = {}
        # The outline in view, where its scan cannot be shown.
        self._without_scan: Item | None = None
        self._closed = False

    @property
    def seen(self) -> bool:
        """Whether the outline that is looked at is drawn, on its scan unless that cannot be shown: it can be judged."""
        return self.pair is not None and (self.scan is not None or self._without_scan == self.item)

    @property
    def item(self) -> Item | None:
        """What is looked at."""
        return None if self.place is None else self.items[self.place]

    @property
    def waiting(self) -> int:
        """How many have no answer yet."""
        return len(self.items) - sum(state not in WAITING for state in self.answers.values())

    @property
    def own(self) -> bool:
        """Whether who reviews is who drew the outline or, where that is not known, handed it over."""
        person = self._store.person.strip().casefold()
        if self.look is None or not person:
            return False
        current, handed = self.look.current, self.look.submitted
        author = (current.author if current else "") or (handed.person if handed else "")
        return author.strip().casefold() == person

    @property
    def person(self) -> str:
        """Who reviews, as entered; "" where nothing was."""
        return self._store.person

    @property
    def read_only(self) -> bool:
        """Whether outlines can be looked at, but not answered."""
        return self._store.read_only

    # Which outline --------------------------------------------------------------------------------------------------

    def start(self, first: Item | None = None) -> None:
        """Read which outlines wait, and look at the first of them, or at the one given."""
        self.loading = True
        self._run(partial(_waiting, self._store, self._query), partial(self._on_items, first), self._fail)

    def choose(self, place: int) -> None:
        """Look at the outline at a place of the list."""
        self.place = place
        self.look = self.first = self.second = self.scan = self.pair = self._without_scan = None
        self.agreements = {}
        self._read()

    def step(self, by: int) -> None:
        """Look at the outline that many places further."""
        if self.place is None:
            return
        if 0 <= self.place + by < len(self.items):
            self.choose(self.place + by)
        else:
            self.message.emit(f"This is the {'last' if by > 0 else 'first'} outline of the list.", False)

    def next_waiting(self) -> None:
        """Look at the next outline without an answer; after the last of the list, at the first one that was passed."""
        if self.place is None:
            return
        order = [*range(self.place + 1, len(self.items)), *range(self.place)]
        found = next((n for n in order if self.answers.get(self.items[n], State.SUBMITTED) in WAITING), None)
        if found is not None:
            self.choose(found)
        else:
            self._read()

    def close(self) -> None:
        """Show and tell nothing any more."""
        self._closed = True

    # What the pictures show -----------------------------------------------------------------------------------------

    def show(self, first: Side) -> None:
        """Show another version in the first picture."""
        self.first, self.agreements = first, {}
        self._draw()

    def compare(self, second: Side | None) -> None:
        """Show another version, or the scan alone, in the second picture."""
        self.second = second
        self._draw()

    # Answers --------------------------------------------------------------------------------------------------------

    def approve(self, remark: str = "") -> None:
        """Accept the outline that is looked at, and look at the next; one that came in its place is shown instead."""
        current = self.look.current if self.look is not None else None
        looked_at = current.id if current is not None else None
        self._answer(partial(self._store.approve, remark=remark.strip(), looked_at=looked_at), "approved")

    def send_back(self, remark: str) -> None:
        """Return the outline to its author, and look at the next; without a remark, say that one is needed."""
        if not remark.strip():
            self.message.emit("Say in the remark what is to be changed, then send it back.", True)
            return
        self._answer(partial(self._store.send_back, remark=remark.strip()), "sent back")

    def bring_back(self, version: Version, remark: str = "") -> None:
        """Make an earlier version the outline again; if that had an answer, it is handed over and waits for yours."""

        def brought(case_id: int, target: str) -> None:
            state = self._store.case(case_id).states[target]
            self._store.restore(version.id, remark.strip())
            if state in (State.SUBMITTED, State.APPROVED, State.ABSENT) and version.foreground:
                self._store.submit(case_id, target, remark=f"version {version.number} brought back")

        self._answer(brought, f"version {version.number} is the outline again", stay=True)

    def _answer(self, do: Callable[[int, str], Any], what: str, stay: bool = False) -> None:
        item, look = self.item, self.look
        if item is None or look is None or self.busy:
            return
        self.busy = True
        self.changed.emit()

        def work() -> State:
            do(item.case_id, item.target)
            return self._store.case(item.case_id).states[item.target]

        self._write(
            work,
            partial(self._on_answered, item, f"{target_name(item.target)} in {look.case.name}: {what}.", stay),
            self._on_refused,
        )

    # Within ---------------------------------------------------------------------------------------------------------

    def _on_items(self, first: Item | None, items: list[Item]) -> None:
        if self._closed:
            return
        self.items, self.loading = items, False
        if first is not None and first not in items:
            self.items.insert(0, first)
        if self.items:
            self.choose(0 if first is None else self.items.index(first))
        else:
            self.changed.emit()

    def _on_answered(self, item: Item, text: str, stay: bool, state: State) -> None:
        self.busy = False
        if self._closed:
            return
        self.answers[item] = state
        self.decided.emit(item.case_id, item.target)
        if not self.waiting:
            text += " Nothing waits any more."
        self.message.emit(text, False)
        if item != self.item:
            self.changed.emit()
        elif stay:
            assert self.place is not None
            self.choose(self.place)
        else:
            self.next_waiting()

    def _on_refused(self, error: Exception) -> None:
        self.busy = False
        self._fail(error)
        if not self._closed:
            self._read()  # another program, or the window, may have changed it

    def _fail(self, error: Exception) -> None:
        self.loading = False
        if not self._closed:
            self.message.emit(str(error), True)
            self.changed.emit()

    def _read(self) -> None:
        item = self.item
        assert item is not None
        self.loading = True
        self.changed.emit()
        self.drawn.emit()
        self._run(partial(_look, self._store, item), partial(self._on_look, item), self._fail)

    def _on_look(self, item: Item, look: Look) -> None:
        if self._closed or item != self.item:
            return
        self.look, self.loading = look, False
        self.answers[item] = look.state
        sides = look.sides()
        self.first = next((side for side in sides if side.version.current and not side.began_from), None)
        self.first = self.first or (sides[-1] if sides else None)
        self.second = _before(sides, self.first)
        self.changed.emit()
        self._show_scan(item)
        self._draw()
        self._read_ahead()

    def _show_scan(self, item: Item) -> None:
        if item.case_id in self._scans:
            self.scan = self._scans[item.case_id] = self._scans.pop(item.case_id)
            self.drawn.emit()
        else:
            read = partial(_screen_scan, self._store, item.case_id)
            self._run(read, partial(self._on_scan, item), partial(self._on_no_scan, item))

    def _read_ahead(self) -> None:
        """Read the scan that comes next."""
        assert self.place is not None
        for item in self.items[self.place + 1 : self.place + 2]:
            if item.case_id not in self._scans:
                # What cannot be read is said when it is looked at.
                self._run(partial(_screen_scan, self._store, item.case_id), partial(self._on_scan, item))

    def _on_scan(self, item: Item, scan: ScreenScan) -> None:
        if self._closed:
            return
        self._scans[item.case_id] = scan
        while len(self._scans) > _SCANS_KEPT:
            del self._scans[next(iter(self._scans))]
        if self.item is not None and item.case_id == self.item.case_id:
            self.scan = scan
            self.drawn.emit()

    def _on_no_scan(self, item: Item, error: Exception) -> None:
        if item == self.item:
            self._without_scan = item
        self._fail(error)

    def _draw(self) -> None:
        self.pair = None
        self.drawn.emit()
        look, first, second = self.look, self.first, self.second
        if look is None or first is None:
            return
        request = (first, second)
        self._run(partial(_pair, self._store, look.case, first, second), partial(self._on_pair, request), self._fail)

    def _on_pair(self, request: tuple[Side, Side | None], pair: Pair) -> None:
        if self._closed or request != (self.first, self.second):
            return
        self.pair = pair
        self.drawn.emit()
        if not self.agreements and self.look is not None:
            versions = self.look.versions
            self._run(partial(_agreements, self._store, request[0], versions), partial(self._on_agreements, request[0]))

    def _on_agreements(self, first: Side, found: dict[int, float]) -> None:
        if not self._closed and first == self.first:
            self.agreements = found
            self.changed.emit()


def count_waiting(store: ProjectStore, query: CaseQuery = EVERYTHING) -> int:
    """How many outlines a review of these scans begins with."""
    states = store.counts(_of_scans(query)).states
    return sum(states[state] for state in WAITING)


def _of_scans(query: CaseQuery, states: tuple[State, ...] = ()) -> CaseQuery:
    return replace(query, states=states, predicted=None)


# Read beside the window ----------------------------------------------------------------------------------------------


def _waiting(store: ProjectStore, query: CaseQuery) -> list[Item]:
    return [
        Item(case.id, target)
        for case in store.cases(query=query)
        for target, state in case.states.items()
        if state in WAITING and (not query.targets or target in query.targets)
    ]


def _look(store: ProjectStore, item: Item) -> Look:
    case = store.case(item.case_id)
    versions, events = store.versions(item.case_id, item.target), store.events(item.case_id, item.target)
    return Look(case, item.target, tuple(versions), tuple(events))


def _screen_scan(store: ProjectStore, case_id: int) -> ScreenScan:
    case, path = store.case(case_id), store.scan_path(case_id)
    pixels = read_scan(path).pixels
    if content_hash(pixels) != case.pixels_hash:
        raise ProjectError(
            f"{case.name} is another picture than when it entered the project ({path}), so it is not shown: its "
            "outlines do not fit. Put the earlier file back."
        )
    return ScreenScan(*to_screen(pixels, _LONGEST_SIDE))


def _mask(store: ProjectStore, side: Side) -> Mask:
    annotation = store.load(side.version)
    if not side.began_from:
        return annotation.mask
    return np.zeros_like(annotation.mask) if annotation.prediction is None else annotation.prediction


def _pair(store: ProjectStore, case: Case, first: Side, second: Side | None) -> Pair:
    step = max(1, -(-max(case.size) // _LONGEST_SIDE))
    one = _mask(store, first)
    if second is None:
        return Pair(contours(one), [], None, step, None)
    other = _mask(store, second)
    small = [mask[::step, ::step] for mask in (one, other)]
    differing = (small[0] & ~small[1]) + 2 * (small[1] & ~small[0]).astype(np.uint8)
    return Pair(contours(one), contours(other), differing, step, differences(one, other, case.spacing))


def _agreements(store: ProjectStore, first: Side, versions: Sequence[Version]) -> dict[int, float]:
    shown = _mask(store, first)
    return {version.id: dice(shown, store.load(version).mask) for version in versions if not version.lost}


def _before(sides: Sequence[Side], first: Side | None) -> Side | None:
    """What a version is compared with first: the prediction that it began from, or else the version before it."""
    if first is None:
        return None
    place = sides.index(first)
    older = sides[:place]
    predicted = [side for side in older if side.began_from or side.version.origin == PREDICTION]
    # Other models may have predicted since.
    name = first.version.model_version
    predicted = [side for side in predicted if side.version.model_version == name] or predicted
    return next(reversed(predicted or older), None)
