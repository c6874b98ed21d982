"""What a correction may do; each is an `Annotation`, by the hash of its scan and its target. No Qt, no napari."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
from psygnal import Signal

from napari_medvlsm.controllers.autosave import Autosave, Key
from napari_medvlsm.controllers.canvas import Canvas
from napari_medvlsm.controllers.drawn import Activity, Steps, by_hand, completed, from_prediction, same, with_effort
from napari_medvlsm.controllers.offers import Offer, Offers
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.disk_errors import reason
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Target

# Wait this long after the last change before a correction is written.
AUTOSAVE_SECONDS = 0.4


class Corrections:
    """The corrections of this session, and what earlier ones left for the scan in view.

    Parameters
    ----------
    session : Session
    canvas : Canvas
    store : AutosaveStore
    settings : Settings
        Holds the name of the author.
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window, one after the other; `done` gets its
        result and `failed` its exception.
    call_later : callable
        ``call_later(seconds, function)``.
    clock : callable
        Seconds, from whatever start.
    """

    changed = Signal()  # what can be done, offers, or which correction is in view
    autosaved = Signal(str)  # when a correction was last written; "" when it is in a file of the person's
    settled = Signal(object)  # an Annotation, a moment after the last change of it
    retracted = Signal(str, str)  # hash of a scan, and the target of which an answer "absent" was taken back
    outlined = Signal(str, object)  # hash of the scan in view, and the mask of its correction after a change
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        store: AutosaveStore,
        settings: Settings,
        run: Callable[..., None],
        call_later: Callable[[float, Callable[[], None]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._canvas, self._store, self._settings = session, canvas, store, settings
        self._run, self._call_later = run, call_later
        self._autosave = Autosave(store, run, call_later)
        self._autosave.message.connect(self.message.emit)
        self._autosave.failing.connect(self._on_failing)
        # In the order in which they were begun, so that the list of outlines keeps its order while one paints.
        self._open: dict[Key, Annotation] = {}
        # In the order of the last change; the values mean nothing.
        self._recent: dict[Key, None] = {}
        self._steps, self._activity = Steps(), Activity(clock)
        # What there was before the answer that there is nothing.
        self._before_absent: dict[Key, Annotation] = {}
        # Those whose present state is in a file of the person's.
        self._in_file: set[Key] = set()
        self._offers = Offers(store, run)
        self._dirty: set[Key] = set()
        self._writes = 0
        self._closed = False
        session.view.changed.connect(self.refresh)

    # What is there --------------------------------------------------------------------------------------------------

    @property
    def current(self) -> Annotation | None:
        """The correction of the target and the scan in view, if there is one."""
        annotation = self._open.get(self._key)
        return annotation if annotation is not None and self._key[1] in self._canvas.targets() else None

    @property
    def offer(self) -> Offer | None:
        """A correction of the scan in view that can be brought back."""
        return self._offers.first(self._session.scan_hash)

    def of_scan(self) -> dict[str, Annotation]:
        """The corrections of the scan in view that are on a layer, by target."""
        scan_hash, present = self._session.scan_hash, set(self._canvas.targets())
        return {t: a for (whose, t), a in self._open.items() if whose == scan_hash and t in present}

    def unsaved(self) -> list[Annotation]:
        """The corrections of all scans that hold something, and whose present state is in no file of the person's."""
        return [
            annotation
            for key, annotation in self._open.items()
            if key not in self._in_file and (annotation.absent or annotation.mask.any())
        ]

    def find(self, scan_hash: str, target: str) -> Annotation | None:
        """The correction of a target of any scan of this session, as it was when it changed last."""
        return self._open.get((scan_hash, target))

    def adoptable(self) -> Sequence[tuple[str, object]]:
        """Names and layers of the person's own that could become the correction of the target."""
        nothing_yet = self._session.view.slice is not None and self._key[1] not in self._canvas.targets()
        return self._canvas.adoptable() if nothing_yet else ()

    def annotation(self) -> Annotation | None:
        """The correction in view as it is now, with all that is known of it."""
        self._session.view.settle()
        self._read_canvas()
        current = self.current
        return completed(self._session, current) if current is not None else None

    # What a person does ---------------------------------------------------------------------------------------------

    def begin(self, from_prediction: bool = True) -> None:
        """Give the target a correction, ready to paint on, from the prediction if there is one, or else empty."""
        if not self._ready():
            return
        target = self._session.target_in_view
        self._give_layer(target)
        if self.current is None:
            self._open[self._key] = self._by_hand(self._key, self._plane(target.phrase))
            start = self._from_prediction() if from_prediction else None
            if start is not None:
                self._enter(start)
            else:
                self._set(self._open[self._key], dirty=False)
        self._activity.seconds(self._key)
        self._canvas.edit(target.phrase)
        self.changed.emit()

    def apply(self, change: Callable[[Mask], Mask], pointed: bool = False) -> int:
        """Change the correction in view as a whole, as one undoable step that counts like a stroke.

        Parameters
        ----------
        change : callable
            ``change(mask)`` gets the outline, shape (H, W), and gives the new one of the same shape.
        pointed : bool
            Whether the person pointed at what is to change; it counts as a click then.

        Returns
        -------
        int
            Number of pixels that changed; 0 without a correction.
        """
        if not self._ready() or (before := self.current) is None:
            return 0
        mask = change(before.mask)
        count = self._canvas.replace(self._key[1], mask)
        if count:
            spent = before.provenance
            worked = replace(
                spent,
                strokes=spent.strokes + (not pointed),
                clicks=spent.clicks + pointed,
                seconds=spent.seconds + self._activity.seconds(self._key),
            )
            absent = before.absent and not mask.any()
            self._set(replace(before, mask=mask, absent=absent, corrected=True, provenance=worked))
            self.changed.emit()
        return count

    def earlier(self) -> Mask | None:
        """The outline of the target in the slice before, or else in the scan of this size that was worked on last.

        None where there is none in this session.
        """
        before, scan = self._canvas.slice_before(self._key[1]), self._session.scan
        if before is not None and before.any():
            return before
        for key in reversed([*self._open, *self._recent]):
            found = self._open.get(key)
            if found is None or scan is None or key == self._key:
                continue
            if key[1] == self._key[1] and found.mask.shape == scan.size and found.mask.any():
                return found.mask
        return None

    def take_prediction(self) -> None:
        """Replace the correction by the prediction, as one undoable step."""
        if not self._ready() or self.current is None:
            return
        start = self._from_prediction()
        if start is not None:
            count = self._enter(start)
            self._say(f"{count} pixels changed; Undo brings yours back." if count else "They are the same.")

    def declare_absent(self) -> None:
        """Answer that the scan does not show the target; what was outlined of it can be brought back."""
        if not self._ready():
            return
        target = self._session.target_in_view
        self._give_layer(target)
        before = self.current
        if before is not None and before.absent:
            return
        if before is not None:
            self._steps.remember(before)
            self._before_absent[self._key] = before
        origin = before or self._from_prediction() or self._by_hand(self._key, self._plane(target.phrase))
        empty = np.zeros_like(origin.mask)
        self._canvas.replace(target.phrase, empty)
        self._activity.seconds(self._key)
        self._set(replace(origin, mask=empty, absent=True))
        self.changed.emit()
        self._say(f"{target.label}: answered that this scan does not show it.")

    def retract_absent(self) -> None:
        """Take that answer back: what was outlined before it is there again."""
        if not self._ready():
            return
        current = self.current
        if current is None or not current.absent:
            return
        before = self._before_absent.pop(self._key, None)
        if before is None:
            # There was no correction before the answer.
            del self._open[self._key]
            self._dirty.discard(self._key)
            self._canvas.forget(self._key[1])
            self._autosave.save(replace(current, absent=False), lambda: None)
        else:
            self._canvas.replace(self._key[1], before.mask)
            self._set(with_effort(before, current))
        self.changed.emit()
        self._say(f"{self._session.target_in_view.label}: your answer was taken back.")
        self.retracted.emit(*self._key)

    def undo(self) -> None:
        """Take back the last change; of an answer that there is nothing, the answer."""
        if self._ready() and self.current is not None:
            if self.current.absent:
                self.retract_absent()
            else:
                self._canvas.undo(self._key[1])

    def redo(self) -> None:
        """Bring back what was undone."""
        if self._ready() and self.current is not None:
            self._canvas.redo(self._key[1])

    def adopt(self, layer: object) -> None:
        """Make a layer of the person's own the correction."""
        if not self._ready():
            return
        target = self._session.target_in_view
        self._canvas.adopt(layer, target)
        mask, noted = self._plane(target.phrase), self._canvas.noted(target.phrase)
        self._set(self._by_hand(self._key, mask) if noted is None else replace(noted, target=target.phrase, mask=mask))
        self.changed.emit()

    def restore(self) -> None:
        """Bring back the offered correction, as one undoable step."""
        if not self._ready() or (offer := self.offer) is None:
            return
        try:
            back = self._offers.load(offer)
        except (ValueError, OSError) as error:
            self._say(str(error), problem=True)
            return
        if self._session.scan is None or back.mask.shape != self._session.scan.size:
            self._say("The stored correction has another size than this scan; it was left alone.", problem=True)
            return
        session, target = self._session, self._session.vocabulary.target(back.target)
        key = session.scan_hash, target.phrase
        self._canvas.open(target)
        if key in self._open:
            self._steps.remember(self._open[key])
            if self._open[key].mask.any():
                self._run(partial(self._store.set_aside, *key))
        self._canvas.replace(target.phrase, back.mask)
        provenance = replace(back.provenance, scan_hash=key[0], scan_size=back.mask.shape)
        # First: a correction of the target in view takes the words of the prompt.
        session.recall(replace(back, target=target.phrase))
        self._set(replace(back, corrected=True, provenance=provenance))
        self._steps.remember(self._open[key])
        self.changed.emit()
        # It is written for this session before the old copy goes.
        self._write(key, then=lambda: self._drop(offer))
        session.look_at(target.phrase)
        self._say(f"Your correction of {target.label} is back.")

    def discard(self) -> None:
        """Drop the offered correction."""
        if (offer := self.offer) is not None:
            self._drop(offer)

    def completed(self, target: str) -> Annotation | None:
        """The correction of a target of the scan in view as it is now, with all that is known of it."""
        self._session.view.settle()
        self._read_canvas()
        found = self.of_scan().get(target)
        return completed(self._session, found) if found is not None else None

    def bring(self, annotation: Annotation) -> bool:
        """Put a stored outline of the scan in view on a layer; False where its target has something that is not stored.

        A correction that is stored gives way to another outline, as one undoable step.
        """
        key = annotation.provenance.scan_hash, annotation.target
        if not self._ready() or key[0] != self._session.scan_hash:
            return False
        known = self._open.get(key) if key[1] in self._canvas.targets() else None
        if known is None:
            self._canvas.open(self._session.vocabulary.target(key[1]), annotation.mask)
            if not self._plane(key[1]).any():  # an answer "absent" that was taken back leaves an empty layer
                self._canvas.replace(key[1], annotation.mask)
        elif key not in self._in_file or key in self._dirty or same(known, annotation):
            return False
        else:
            self._steps.remember(known)
            self._canvas.replace(key[1], annotation.mask)
            self._steps.remember(annotation)
        if not np.array_equal(self._plane(key[1]), annotation.mask):
            return False
        self._open[key] = annotation
        self._in_file.add(key)
        self._canvas.note(annotation)
        self._session.recall(annotation)
        self.changed.emit()
        return True

    def mark_stored(self, annotation: Annotation, text: str) -> None:
        """Take note that a state is kept elsewhere, as `text` says; then its autosaved copy goes."""
        key = annotation.provenance.scan_hash, annotation.target
        if self._open.get(key) is annotation and key not in self._dirty:
            self._in_file.add(key)
            self._autosave.forget(key)
            if key == self._key:
                self.autosaved.emit(text)

    def is_stored(self, scan_hash: str) -> bool:
        """Whether every correction of a scan is kept elsewhere in its present state."""
        keys = {key for key in self._open if key[0] == scan_hash}
        return keys <= self._in_file and not keys & self._dirty

    def put_away(self, scan_hash: str) -> None:
        """Forget the corrections of a scan whose layers are taken out of the viewer; they are kept elsewhere."""
        for key in [key for key in self._open if key[0] == scan_hash]:
            del self._open[key]
            self._steps.forget(key)
            self._before_absent.pop(key, None)
            self._in_file.discard(key)

    def mark_saved(self, target: str | None = None) -> None:
        """Drop the autosaved copy of a correction of the scan in view, by default of the one in view.

        It is in a file of the person's now.
        """
        self.flush()
        key = self._session.scan_hash, self._key[1] if target is None else target
        self._in_file.add(key)
        self._autosave.forget(key)
        if key == self._key:
            self.autosaved.emit("")

    # What happens on the canvas -------------------------------------------------------------------------------------

    def on_painted(self, scan_hash: str, target: str, mask: Mask, stroke: bool) -> None:
        """Take over what a person changed on a layer.

        Parameters
        ----------
        scan_hash, target : str
        mask : bool array of shape (H, W)
            The slice as it is now.
        stroke : bool
            Whether it was painted, filled or erased; else it was undone or redone.
        """
        if self._closed:
            return
        key = scan_hash, target
        before = self._open.get(key) or self._by_hand(key, np.zeros_like(mask))
        origin = before if stroke else self._steps.origin(key, mask) or before
        provenance = replace(
            origin.provenance,
            strokes=before.provenance.strokes + stroke,
            clicks=before.provenance.clicks,
            seconds=before.provenance.seconds + self._activity.seconds(key),
        )
        known = key in self._open
        absent = before.absent and not mask.any() and not stroke
        self._set(replace(origin, mask=mask, absent=absent, corrected=True, provenance=provenance))
        if not known or absent != before.absent:
            self.changed.emit()
        if not stroke and scan_hash != self._session.scan_hash:
            self._say("The last change was on another slice; it was undone or redone there.")

    def on_deleted(self, target: str, scan_hashes: Iterable[str]) -> None:
        """Keep the corrections of a layer that was deleted: they are offered back."""
        if self._closed:
            return
        self.flush()
        kept = False
        for scan_hash in scan_hashes:
            annotation = self._open.pop((scan_hash, target), None)
            self._before_absent.pop((scan_hash, target), None)
            if annotation is not None and (annotation.mask.any() or annotation.absent):
                kept = True
                self._offers.keep(scan_hash, annotation)
        self.changed.emit()
        if kept:
            label = self._session.vocabulary.target(target).label
            self._say(f"The layer of your correction of {label} was deleted; Restore brings it back.")

    def refresh(self) -> None:
        """Look again at what the layers of the scan in view hold, and at what can be brought back."""
        self._read_canvas()
        self.find_offers()

    def find_offers(self) -> None:
        """Look for corrections that earlier sessions left for this scan."""
        self._offers.look(self._session.scan_hash if self._session.view.slice is not None else "")
        self.changed.emit()

    def flush(self) -> None:
        """Write every changed correction, in the background."""
        for key in list(self._dirty):
            self._write(key)

    def close(self) -> None:
        """Write what is left; nothing is taken over from now on."""
        before = dict(self._open)
        # A fill that was not reported yet is on its layer already.
        self._read_canvas()
        self._dirty |= {key for key, known in before.items() if not np.array_equal(self._open[key].mask, known.mask)}
        self.flush()
        self._autosave.close()
        self._closed = True

    # Within ---------------------------------------------------------------------------------------------------------

    @property
    def _key(self) -> Key:
        return self._session.scan_hash, self._session.target_in_view.phrase

    def _ready(self) -> bool:
        """Bring the view up to date, and the corrections with it; False without a scan."""
        self._session.view.settle()
        self._read_canvas()
        return self._session.view.slice is not None and not self._closed

    def _give_layer(self, target: Target) -> None:
        """Give a target a layer, if it has none; a correction of these pixels that lies in another image is on it."""
        new = target.phrase not in self._canvas.targets()
        self._canvas.open(target)
        known = self._open.get((self._session.scan_hash, target.phrase))
        if new and known is not None:
            self._follow(known)

    def _follow(self, known: Annotation) -> None:
        """Bring the layer up to what a correction of the same pixels became in another image or slice."""
        self._canvas.replace(known.target, known.mask)
        self._canvas.note(known)

    def _plane(self, target: str) -> Mask:
        mask = self._canvas.read(target)
        assert mask is not None, "the layer was opened before"
        return mask

    def _read_canvas(self) -> None:
        """Take over what is on the layers of the slice in view, also where nobody told of a change."""
        if self._session.view.slice is None or self._closed:
            return
        scan_hash = self._session.scan_hash
        for target in self._canvas.targets():
            key, mask = (scan_hash, target), self._plane(target)
            known, noted = self._open.get(key), self._canvas.noted(target)
            unchanged = np.array_equal(mask, noted.mask) if noted is not None else not mask.any()
            if known is not None and unchanged and not np.array_equal(mask, known.mask):
                self._follow(known)
                continue
            annotation = known or noted
            if annotation is None and not mask.any():
                continue
            if annotation is None:
                annotation = self._by_hand(key, mask)
            elif not np.array_equal(annotation.mask, mask):
                annotation = replace(annotation, mask=mask, absent=annotation.absent and not mask.any())
            if annotation is not self._open.get(key):
                self._open[key] = annotation
                self._canvas.note(annotation)
            self._offers.note_present(scan_hash, target, mask)

    def _by_hand(self, key: Key, mask: Mask) -> Annotation:
        return by_hand(self._session, key, mask)

    def _from_prediction(self) -> Annotation | None:
        return from_prediction(self._session, self._key[1])

    def _enter(self, start: Annotation) -> int:
        """Put the start of a correction into the one in view; the number of changed pixels."""
        before = self._open[self._key]
        self._steps.remember(before)
        count = self._canvas.replace(self._key[1], start.mask)
        self._activity.seconds(self._key)
        self._set(with_effort(start, before))
        self._steps.remember(self._open[self._key])
        self.changed.emit()
        return count

    def _set(self, annotation: Annotation, dirty: bool = True) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        provenance = replace(annotation.provenance, created=now, author=self._settings.author)
        annotation = completed(self._session, replace(annotation, provenance=provenance))
        key = provenance.scan_hash, annotation.target
        self._open[key] = annotation
        self._recent.pop(key, None)  # the last one worked on is the last
        self._recent[key] = None
        self._canvas.note(annotation)
        if dirty:
            self._in_file.discard(key)
            self._dirty.add(key)
            self._writes += 1
            number = self._writes
            self._call_later(AUTOSAVE_SECONDS, lambda: self.flush() if number == self._writes else None)

    def _write(self, key: Key, then: Callable[[], None] | None = None) -> None:
        self._dirty.discard(key)
        annotation = self._open.get(key)
        if annotation is None:
            return
        annotation = self._open[key] = completed(self._session, annotation)
        if key == self._key and not annotation.absent:
            self.outlined.emit(key[0], annotation.mask)
        self.settled.emit(annotation)

        def done() -> None:
            kept = annotation.absent or annotation.mask.any()
            if kept and not self._closed and key == self._key and key not in self._in_file:
                self.autosaved.emit(f"Autosaved at {datetime.now():%H:%M:%S}; not yet saved to a file.")
            if then is not None:
                then()

        self._autosave.save(annotation, done)

    def _on_failing(self, why: str) -> None:
        if why and not self._closed:
            self.autosaved.emit(f"Not autosaved: {why}. It is tried again by itself.")

    def _drop(self, offer: Offer) -> None:
        try:
            self._offers.drop(offer)
        except OSError as error:
            self._say(f"The stored correction could not be deleted: {reason(error)}.", problem=True)
        self.find_offers()

    def _say(self, text: str, problem: bool = False) -> None:
        self.message.emit(text, problem)
