"""The scans that are open or wait to be opened, and the one route by which any of them comes into view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from psygnal import Signal

from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.images import ImageFile, read_image
from napari_medvlsm.core.io.labels import load_mask
from napari_medvlsm.core.io.listing import Listing, list_scans, named

# The first this many unreadable files of those that were opened together are tried before the person is asked.
_TRIES = 20


class Stage(Protocol):
    """The viewer, as the list needs it."""

    def make(self, found: ImageFile, path: Path) -> Any:
        """An image of what was read, which is not in the viewer yet."""

    def insert(self, image: Any) -> None:
        """Put an image into the viewer; it reports it to `Worklist.sync` as any other."""

    def insert_outline(self, outline: Annotation, path: Path) -> None:
        """Put a saved outline into the viewer."""

    def show(self, image: Any) -> None:
        """Show an image alone, as a whole, in 2D."""

    def take_out(self, image: Any) -> None:
        """Take an image that is not in sight out of the viewer, with what is ours of it."""


@dataclass(eq=False)
class Entry:
    """One scan of the list.

    Attributes
    ----------
    name : str
    path : Path or None
        Its file; None for an image that came from elsewhere.
    image : Any
        The viewer's own object; None as long as the scan waits to be opened.
    problem : str
        Why its file cannot be opened, one sentence; "" if nothing is known against it.
    """

    name: str
    path: Path | None = None
    image: Any = None
    problem: str = ""


@dataclass
class _Opening:
    """What one drop or one dialog brought: the first that can be read is shown."""

    entries: list[Entry]
    failed: list[Entry] = field(default_factory=list)


class Worklist:
    """A list of scans, one of which is worked on: the image of `ViewState`, and no other is shown.

    Parameters
    ----------
    view : ViewState
    stage : Stage
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window.
    """

    changed = Signal()  # entries, their state, or which is worked on
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, view: ViewState, stage: Stage, run: Callable[..., None]) -> None:
        self._view, self._stage, self._run = view, stage, run
        self.entries: list[Entry] = []
        # The entry that is being read; another choice takes its place.
        self._wanted: Entry | None = None
        self._closed = False
        view.image_changed.connect(lambda: self.changed.emit())

    @property
    def current(self) -> Entry | None:
        """The entry that is worked on."""
        return self._entry(self._view.image)

    @property
    def opening(self) -> Entry | None:
        """The entry that is being read and comes into view next."""
        return self._wanted

    # The ways in ----------------------------------------------------------------------------------------------------

    def open(self, paths: Sequence[Path], others: Callable[[Sequence[Path]], str] | None = None) -> None:
        """Open files and folders: the first scan is shown, the others wait in the list.

        Parameters
        ----------
        paths : sequence of Path
        others : callable, optional
            Opens what is no picture in another way; gives back why it could not, "" if it could.
        """
        self.message.emit(f"Opening {named(paths)}…", False)
        self._run(partial(list_scans, paths), partial(self._take, others), self._fail)

    def choose(self, entry: Entry) -> None:
        """Work on an entry, and show it alone; one that waits is read first."""
        if entry not in self.entries or self._closed:
            return
        if entry.image is not None:
            self._wanted = None
            self._show(entry)
            if entry.problem:
                entry.problem = ""
        else:
            self._read(entry, _Opening([entry]))

    def open_one(self, path: Path, name: str = "", found: ImageFile | None = None) -> Entry:
        """Work on one file, which joins the list; what was read of it ahead is shown at once.

        Nothing is said of it but what people should know of how it was read, or why it cannot be.
        """
        entry = self._add_files([path])[0]
        entry.name = name or entry.name
        if entry.image is not None or self._closed:
            self.choose(entry)
        elif found is not None:
            self._wanted = entry
            self._on_read(entry, True, found)
        else:
            self._read(entry, _Opening([entry]), quiet=True)
        return entry

    def put_away(self, entry: Entry) -> bool:
        """Take a scan that is not worked on out of the list and the viewer; False where it is worked on."""
        if entry not in self.entries or self._closed:
            return True
        if entry is self._wanted or (entry.image is not None and entry.image is self._view.image):
            return False
        self.entries.remove(entry)
        if entry.image is not None:
            self._stage.take_out(entry.image)
        self.changed.emit()
        return True

    def choose_image(self, image: Any) -> None:
        """Work on an image of the viewer, and show it alone."""
        entry = self._entry(image)
        if entry is not None:
            self.choose(entry)

    def step(self, by: int) -> None:
        """Work on the scan that many places further; those that cannot be opened are passed over."""
        here = self._wanted or self.current
        places = range(len(self.entries)) if here is None else range(self.entries.index(here) + by, _end(self, by), by)
        found = next((self.entries[place] for place in places if not self.entries[place].problem), None)
        if found is not None:
            self.choose(found)
        elif self.entries:
            self.message.emit(f"This is the {'last' if by > 0 else 'first'} scan of the list.", False)

    # What the viewer reports ----------------------------------------------------------------------------------------

    def sync(self, images: Sequence[tuple[Any, str, Path | None, Sequence[Path]]], active: Any = None) -> None:
        """Follow the images that are in the viewer.

        Parameters
        ----------
        images : sequence of (image, name, path, waiting)
            In the order in which they came; `waiting` are files that came with the image and wait to be opened.
        active : Any
            The one that the person chose in the viewer, if any.
        """
        if self._closed:
            return
        place = self._place()
        present = [image for image, *_ in images]
        self.entries = [e for e in self.entries if e.image is None or any(e.image is image for image in present)]
        for image, name, path, waiting in images:
            entry = self._entry(image)
            if entry is None:
                self.entries.append(Entry(name, path, image))
                self._add_files(waiting)
            else:
                entry.name = name
        if not any(self._view.image is image for image in present):
            entry = self._entry(active) or self._nearest_open(place)
            if entry is not None:
                self._show(entry)
            else:
                self._view.choose(None)
                self._view.settle()
        self.changed.emit()

    def close(self) -> None:
        """Open and show nothing any more."""
        self._closed = True

    # Within ---------------------------------------------------------------------------------------------------------

    def _entry(self, image: Any) -> Entry | None:
        return next((e for e in self.entries if image is not None and e.image is image), None)

    def _place(self) -> int:
        current = self.current
        return self.entries.index(current) if current is not None else 0

    def _nearest_open(self, place: int) -> Entry | None:
        """After a scan was taken out: the one that is now in its place, or the nearest that is open."""
        opened = [i for i, e in enumerate(self.entries) if e.image is not None]
        return self.entries[min(opened, key=lambda i: (abs(i - place), i < place))] if opened else None

    def _show(self, entry: Entry) -> None:
        self._view.choose(entry.image)
        self._stage.show(entry.image)
        # At once: what is asked for next is asked of what is seen.
        self._view.settle()
        self.changed.emit()

    def _take(self, others: Callable[[Sequence[Path]], str] | None, found: Listing) -> None:
        if self._closed:
            return
        problems = [found.refused.rstrip(".")] if found.refused else []
        if found.others:
            problem = others(found.others) if others is not None else _no_pictures(found.others)
            problems += [problem.rstrip(".")] if problem else []
        for path in found.outlines:
            self._run(partial(load_mask, path), partial(self._insert_outline, path), self._fail)
        entries = self._add_files(found.scans)
        self.changed.emit()
        if problems:
            self.message.emit("; ".join(problems) + ".", True)
        elif len(entries) > 1:
            self.message.emit(f"{len(entries)} scans are in the list; this is the first.", False)
        elif not entries:
            self.message.emit("", False)
        if entries:
            self._read_first(_Opening(entries), quiet=bool(problems) or len(entries) > 1)

    def _add_files(self, paths: Iterable[Path]) -> list[Entry]:
        """Their entries, those that are in the list already included."""
        known = {entry.path: entry for entry in self.entries if entry.path is not None}
        entries = []
        for path in paths:
            path = path.absolute()
            entry = known.get(path)
            if entry is None:
                entry = known[path] = Entry(path.stem, path)
                self.entries.append(entry)
            entries.append(entry)
        return entries

    def _read_first(self, opening: _Opening, quiet: bool) -> None:
        entry = opening.entries[0]
        if entry.image is not None:
            self.choose(entry)
        else:
            self._read(entry, opening, quiet)

    def _read(self, entry: Entry, opening: _Opening, quiet: bool = False) -> None:
        assert entry.path is not None, "what has no file is an image of the viewer"
        self._wanted = entry
        if not quiet:
            self.message.emit(f"Opening {entry.path.name}…", False)
        self.changed.emit()
        done, failed = partial(self._on_read, entry, quiet), partial(self._on_unreadable, entry, opening, quiet)
        self._run(partial(read_image, entry.path), done, failed)

    def _on_read(self, entry: Entry, quiet: bool, found: ImageFile) -> None:
        # Another scan was chosen meanwhile, or this one taken off the list: it waits on.
        if self._closed or self._wanted is not entry or entry not in self.entries:
            return
        self._wanted = None
        assert entry.path is not None
        entry.problem = ""
        entry.image = self._stage.make(found, entry.path)
        self._stage.insert(entry.image)
        if self._view.image is not entry.image:
            self._show(entry)
        if not quiet or found.notes:
            self.message.emit(" ".join((f"Opened {entry.path.name}.", *found.notes)), False)

    def _on_unreadable(self, entry: Entry, opening: _Opening, quiet: bool, error: Exception) -> None:
        if self._closed:
            return
        entry.problem = str(error)
        opening.failed.append(entry)
        rest = [e for e in opening.entries if e is not entry]
        wanted = self._wanted is entry
        if wanted:
            self._wanted = None
        self.changed.emit()
        if len(opening.failed) == 1:
            self.message.emit(entry.problem, True)
        else:
            names = named([e.path for e in opening.failed if e.path is not None])
            self.message.emit(f"{names} cannot be opened; {entry.problem}", True)
        if wanted and rest and len(opening.failed) < _TRIES:
            opening.entries = rest
            self._read_first(opening, quiet=True)

    def _insert_outline(self, path: Path, outline: Annotation) -> None:
        if not self._closed:
            self._stage.insert_outline(outline, path)
            self.message.emit(f"Opened the mask {path.name}; it can be used as a correction.", False)

    def _fail(self, error: Exception) -> None:
        if not self._closed:
            self.message.emit(str(error), True)


def _end(worklist: Worklist, by: int) -> int:
    return len(worklist.entries) if by > 0 else -1


def _no_pictures(paths: Sequence[Path]) -> str:
    what = "is no picture" if len(paths) == 1 else "are no pictures"
    return f"{named(paths)} {what} that can be opened here: open PNG, JPEG, TIFF, BMP or GIF files"
