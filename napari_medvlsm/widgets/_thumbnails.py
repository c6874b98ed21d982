"""Small pictures of a project's scans, made beside the window; those in sight come first, and few are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QImage, QPixmap

from napari_medvlsm.core.images import to_screen
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.masks import Bytes
from napari_medvlsm.core.projects.values import Case
from napari_medvlsm.widgets._workers import Background

# Pictures that are kept: at most 88 x 88 pixels of 4 bytes each, 16 MB in all.
KEPT = 512
# Pictures that wait to be made; of more than fill the largest screen, the ones that were asked for first are dropped.
WAITING = 48


class Thumbnails(QObject):
    """Pictures by scan; `made` says when one that was asked for is there.

    Parameters
    ----------
    path : callable
        ``path(case_id)`` says where a scan is; called beside the window, and may raise.
    side : int
        Longest side, in pixels as Qt counts them.
    ratio : float
        Pixels of the screen for each of these.
    background : Background
        Its own: a slow file delays no other work.
    parent : QObject
    """

    made = Signal(int)  # id of the scan

    def __init__(
        self, path: Callable[[int], Path], side: int, ratio: float, background: Background, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._path, self._side, self._ratio, self._background = path, round(side * ratio), ratio, background
        # None for a scan that cannot be read.
        self._pictures: OrderedDict[int, QPixmap | None] = OrderedDict()
        self._waiting: OrderedDict[int, None] = OrderedDict()
        self._making: int | None = None
        self._generation = 0

    def get(self, case: Case) -> QPixmap | None:
        """The picture of a scan; None as long as there is none, for which it is made."""
        if case.id in self._pictures:
            self._pictures.move_to_end(case.id)
            return self._pictures[case.id]
        if case.id != self._making:
            self._waiting[case.id] = None
            self._waiting.move_to_end(case.id)
            while len(self._waiting) > WAITING:
                self._waiting.popitem(last=False)
            self._go_on()
        return None

    def clear(self) -> None:
        """Forget all: another project is open."""
        self._generation += 1
        self._pictures.clear()
        self._waiting.clear()
        self._making = None

    def _go_on(self) -> None:
        if self._making is not None or not self._waiting:
            return
        case_id, _ = self._waiting.popitem()
        self._making = case_id
        done = partial(self._on_made, self._generation, case_id)
        self._background.run(partial(_picture, self._path, case_id, self._side), done, lambda error: done(None))

    def _on_made(self, generation: int, case_id: int, shown: Bytes | None) -> None:
        if generation != self._generation:
            return
        self._making = None
        self._pictures[case_id] = None if shown is None else _pixmap(shown, self._side, self._ratio)
        while len(self._pictures) > KEPT:
            self._pictures.popitem(last=False)
        with suppress(RuntimeError):  # the window, and this object with it, is gone
            self.made.emit(case_id)
            self._go_on()


def _picture(path: Callable[[int], Path], case_id: int, side: int) -> Bytes:
    """Twice as large as it is shown: every n-th pixel alone would make fine structures flicker."""
    return to_screen(read_scan(path(case_id)).pixels, 2 * side)[0]


def _pixmap(shown: Bytes, side: int, ratio: float) -> QPixmap:
    rows, columns = shown.shape[:2]
    image = QImage(shown.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    kept, smooth = Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    pixmap = QPixmap.fromImage(image.scaled(side, side, kept, smooth))
    pixmap.setDevicePixelRatio(ratio)
    return pixmap
