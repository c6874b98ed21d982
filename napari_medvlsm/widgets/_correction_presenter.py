"""The person's own outlines: begun, undone, kept safe on disk, offered again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.images import content_hash
from napari_medvlsm.core.io.autosave import AutosaveStore, SavedCorrection
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Target
from napari_medvlsm.widgets._layers import LayerManager, SliceInView, image_id, role
from napari_medvlsm.widgets._workers import Background

# Wait this long after the last change before a correction is written.
_AUTOSAVE_MS = 400
# Metadata of a correction layer: how it was begun, by the hash of the slice.
STORIES = "medvlsm_stories"


class CorrectionPresenter(QObject):
    """Corrections of the scan in view; `look_at` tells which that is.

    Parameters
    ----------
    book : LayerManager
    session : Session
    store : AutosaveStore
    background : Background
        Writes and reads the store.
    settle : callable
        Brings the view up to date, should a slice still be moving when a stroke ends.
    parent : QObject
    """

    changed = Signal()  # layers, offers or what can be done
    kept = Signal(str)  # when a correction was last written to disk; "" when it is in a file of the person's
    outlined = Signal(str, object)  # hash of the slice, and its correction's mask after a change
    said = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        book: LayerManager,
        session: Session,
        store: AutosaveStore,
        background: Background,
        settle: Callable[[], None],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._settle = settle
        self._closed = False
        self._book, self._session, self._store, self._background = book, session, store, background
        self._view: SliceInView | None = None
        # Where the last change of each layer happened: hash of the slice, and its index.
        self._watched: dict[Labels, tuple[str, tuple[int, ...]]] = {}
        self._dirty: set[Labels] = set()
        # Content of a plane, by layer and hash of the slice, when it was last written: redrawing alone is no change.
        self._written: dict[tuple[Labels, str], str] = {}
        # Planes on which the person drew or began to, by layer and hash of the slice; an empty one may be meant so.
        self._touched: set[tuple[Labels, str]] = set()
        self.offered: SavedCorrection | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_AUTOSAVE_MS)
        self._timer.timeout.connect(self.flush)

    @property
    def target(self) -> Target:
        """What is outlined: the target of the prompt, else, if that is empty, of the result."""
        session = self._session
        asked = session.result.target if session.result is not None and not session.prompt.text else session.target
        return session.vocabulary.target(asked)

    def look_at(self, view: SliceInView | None) -> None:
        """Work on another slice; what was changed on the last one is written first."""
        self.flush()
        self._view = view
        for layer in self._book.corrections(view.layer) if view is not None else ():
            self._watch(layer)
        self.find_offer()

    def current(self) -> Labels | None:
        """The correction layer of the target, if the slice in view has a correction in it."""
        layer, view, key = self._layer(), self._view, self._session.scan_hash
        if layer is None or view is None:
            return None
        begun = (layer, key) in self._touched or key in layer.metadata.get(STORIES, {})
        return layer if begun or self._book.plane(layer, view.index).any() else None

    def adoptable(self) -> list[Labels]:
        """Label layers of the person's own that could become the correction."""
        return self._book.adoptable(self._view.layer) if self._view is not None and self._layer() is None else []

    def begin(self, prediction: Mask | None) -> Labels | None:
        """Give the target a correction layer, ready to paint on, with the prediction in it if there is one."""
        if self._view is None:
            return None
        layer = self._layer() or self._book.new_correction(self._view.layer, self.target)
        self._watch(layer)
        self._touched.add((layer, self._session.scan_hash))
        if prediction is not None:
            self._enter(layer, prediction)
        layer.brush_size = max(3, min(self._view.scan.size) // 40)
        layer.selected_label = 1
        layer.mode = "paint"
        self.changed.emit()
        return layer

    def take_over(self, prediction: Mask | None) -> None:
        """Replace the correction by the prediction, as one undoable step."""
        layer = self.current()
        if layer is None or prediction is None:
            return
        self._watch(layer)
        count = self._enter(layer, prediction)
        self.said.emit(f"{count} pixels changed; Undo brings yours back." if count else "They are the same.", False)

    def undo(self) -> None:
        """Take back the last change."""
        self._step("undo")

    def redo(self) -> None:
        """Bring back what was undone."""
        self._step("redo")

    def adopt(self, layer: Labels) -> None:
        """Make a layer of the person's own the correction."""
        if self._view is not None:
            self._watch(self._book.adopt(layer, self._view.layer, self.target))
            # Nothing of it is on disk yet, whatever it looked like when it was first seen.
            self._written.pop((layer, self._session.scan_hash), None)
            self._dirty.add(layer)
            self._timer.start()
            self.changed.emit()

    def outline(self) -> tuple[Mask, dict[str, Any]] | None:
        """The correction in view and how it was made."""
        layer = self.current()
        if layer is None or self._view is None:
            return None
        return self._book.plane(layer, self._view.index).astype(bool), self._story(layer, self._session.scan_hash)

    def saved(self) -> None:
        """Forget what was kept safe: the correction in view is in a file of the person's now."""
        self.flush()
        self._background.run(partial(self._store.forget, self._session.scan_hash, self.target.phrase))
        self.kept.emit("")

    def find_offer(self) -> None:
        """Look for a correction that an earlier sitting left for this scan."""
        found = self._store.find(self._session.scan_hash) if self._view is not None else []
        self.offered = found[0] if found else None
        self.changed.emit()

    def restore(self) -> None:
        """Bring back the offered correction, as one undoable step."""
        offered, view = self.offered, self._view
        if offered is None or view is None:
            return
        try:
            mask, made = self._store.load(offered)
        except (ValueError, OSError) as error:
            self.said.emit(str(error), True)
            return
        if mask.shape != view.scan.size:
            self.said.emit("The stored correction has another size than this scan; it was left alone.", True)
            return
        target = self._session.vocabulary.target(offered.target)
        layer = self._book.correction(view.layer, offered.target) or self._book.new_correction(view.layer, target)
        self._watch(layer)
        layer.metadata.setdefault(STORIES, {})[offered.scan_hash] = made
        self._book.replace_plane(layer, view.index, mask)
        self._mark(layer)
        # The new sitting writes it before the old copy goes.
        self._keep(layer, then=partial(self._drop, offered))
        if offered.target in self._session.vocabulary.targets:
            self._session.choose(target=offered.target)
        else:
            self._session.type(offered.target)
        self.said.emit(f"Your correction of {target.label} is back.", False)

    def discard(self) -> None:
        """Drop the offered correction."""
        if self.offered is not None:
            self._drop(self.offered)

    def flush(self) -> None:
        """Write every changed correction, in the background."""
        self._timer.stop()
        for layer in list(self._dirty):
            self._keep(layer)

    def close(self) -> None:
        """Write what is left; nothing is heard of any layer from now on."""
        self.flush()
        self._closed = True
        self._view = None

    def _layer(self) -> Labels | None:
        """The correction layer of the scan in view and the target; of a stack, it may hold other slices alone."""
        return self._book.correction(self._view.layer, self.target.phrase) if self._view is not None else None

    def _keep(self, layer: Labels, then: Callable[[], None] | None = None) -> None:
        self._dirty.discard(layer)
        scan_hash, index = self._watched[layer]
        mask, target = self._book.plane(layer, index), role(layer)["target"]
        content = content_hash(mask)
        if self._written.get((layer, scan_hash)) == content and then is None:
            return
        self._written[layer, scan_hash] = content
        if (layer, scan_hash) not in self._touched:
            self._touched.add((layer, scan_hash))
            self.changed.emit()
        if target == self.target.phrase:
            self.outlined.emit(scan_hash, mask.astype(bool))
        if not mask.any():
            # Everything was taken back: there is nothing to offer after a crash.
            self._background.run(partial(self._store.forget, scan_hash, target))
            return
        self._background.run(
            partial(self._store.save, scan_hash, target, mask, self._story(layer, scan_hash)),
            lambda _: self._on_kept(then),
            lambda error: self._on_not_kept((layer, scan_hash), error),
        )

    def _on_not_kept(self, plane: tuple[Labels, str], error: Exception) -> None:
        self._written.pop(plane, None)
        self.said.emit(f"The correction could not be kept safe on disk ({error}); save it to a file.", True)

    def _enter(self, layer: Labels, prediction: Mask) -> int:
        assert self._view is not None
        layer.metadata.setdefault(STORIES, {})[self._session.scan_hash] = self._session.story(corrected=True)
        count = self._book.replace_plane(layer, self._view.index, prediction)
        self._mark(layer)
        return count

    def _story(self, layer: Labels, scan_hash: str) -> dict[str, Any]:
        drawn_by_hand = self._session.story(corrected=True) | {"prompt": None, "model": "", "threshold": None}
        found: dict[str, Any] = layer.metadata.get(STORIES, {}).get(scan_hash, drawn_by_hand | {"cleanup": []})
        return dict(found)

    def _step(self, action: str) -> None:
        layer = self.current()
        if layer is not None:
            getattr(layer, action)()
            self._mark(layer)

    def _watch(self, layer: Labels) -> None:
        if layer not in self._watched:
            # `paint` follows a finished stroke, `set_data` also undo and redo by the keyboard.
            for event in (layer.events.paint, layer.events.set_data):
                event.connect(lambda: self._mark(layer))
            self._watched[layer] = ("", ())
        self._locate(layer)

    def _mark(self, layer: Labels) -> None:
        if self._closed or layer not in self._watched:
            return
        self._settle()
        self._locate(layer)
        self._dirty.add(layer)
        self._timer.start()

    def _locate(self, layer: Labels) -> None:
        if self._view is not None and role(layer).get("image") == image_id(self._view.layer):
            scan_hash, index = self._session.scan_hash, self._view.index
            self._watched[layer] = (scan_hash, index)
            if (layer, scan_hash) not in self._written:
                self._written[layer, scan_hash] = content_hash(self._book.plane(layer, index))

    def _on_kept(self, then: Callable[[], None] | None) -> None:
        if not self._closed and self.current() is not None:
            self.kept.emit(f"Kept safe at {datetime.now():%H:%M:%S}; not yet saved to a file of yours.")
        if then is not None:
            then()

    def _drop(self, entry: SavedCorrection) -> None:
        self._store.discard(entry)
        self.find_offer()
