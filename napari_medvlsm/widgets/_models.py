"""Models: picked, read about, fetched and imported; and what they run on."""

from __future__ import annotations

import shutil
import threading
import time
from functools import partial
from pathlib import Path

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.io.atomic import megabytes
from napari_medvlsm.core.models import hub
from napari_medvlsm.core.models.import_process import import_in_process
from napari_medvlsm.core.models.registry import available_models, fetched_folder
from napari_medvlsm.core.models.sources import SOURCES, find_source
from napari_medvlsm.widgets._prompts import open_dialog
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.dialogs import CardDialog, ModelsDialog
from napari_medvlsm.widgets.sections import ModelSection

# Progress is shown at most this often.
_PROGRESS_SECONDS = 0.1


class _Stopped(Exception):
    """The person cancelled a download."""


class ModelDesk(QObject):
    """Joins the session's models with their section and the dialog that gets more.

    Parameters
    ----------
    session : Session
    section : ModelSection
    parent : QWidget
        Of the dialogs.
    """

    _progressed = Signal(object, object)  # bytes done, bytes of all; more than an int of Qt holds

    def __init__(self, session: Session, section: ModelSection, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._section, self._parent = session, section, parent
        # Of its own: a long download keeps no autosave waiting.
        self._background = Background(self)
        self._stop = threading.Event()
        self._dialog: ModelsDialog | None = None
        self._plan: hub.Plan | None = None
        section.modelChosen.connect(session.set_model)
        section.cardRequested.connect(self._show_card)
        section.moreRequested.connect(self._show_more)
        section.deviceChosen.connect(session.engine.choose)
        session.model_changed.connect(self._show_current)
        session.engine.devices_found.connect(lambda devices: section.set_devices(devices, *session.engine.chosen))
        session.engine.precision_found.connect(lambda _: self._show_running())
        self._progressed.connect(self._show_progress)
        self._show_models()

    def close(self) -> None:
        """Stop what is being fetched; it goes on from there next time."""
        self._stop.set()
        self._background.close()

    def _show_models(self) -> None:
        current = self._session.model
        self._section.set_models(self._session.models, current.name if current else "")

    def _show_current(self) -> None:
        if self._session.model is not None:
            self._section.set_current(self._session.model.name)

    def _show_running(self) -> None:
        engine = self._session.engine
        self._section.set_running(engine.device, engine.precision, engine.difference)

    def _show_card(self) -> None:
        if self._session.model is not None:
            open_dialog(CardDialog(self._session.model.card, self._parent))

    def _show_more(self) -> None:
        if self._dialog is not None:
            self._dialog.raise_()
            return
        self._dialog = dialog = ModelsDialog(list(SOURCES.values()), self._parent)
        dialog.set_present(self._session.models)
        dialog.planRequested.connect(self._ask)
        dialog.fetchRequested.connect(self._fetch)
        dialog.cancelRequested.connect(self._stop.set)
        dialog.importRequested.connect(self._import)
        dialog.destroyed.connect(self._forget_dialog)
        open_dialog(dialog)

    def _forget_dialog(self) -> None:
        self._dialog = None
        self._stop.set()

    def _ask(self, name: str) -> None:
        source = find_source(name)
        self._start("Asking the hub…")
        self._background.run(partial(hub.plan, source, fetched_folder(source.name)), self._show_plan, self._failed)

    def _show_plan(self, plan: hub.Plan) -> None:
        self._plan = plan
        if self._dialog is not None:
            self._dialog.set_plan(
                f"{megabytes(plan.left)} of {megabytes(plan.total)} to fetch from {plan.endpoint}; "
                f"{megabytes(plan.free)} free on the disk."
            )

    def _fetch(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self._start("Fetching…", cancellable=True)

        def check() -> None:
            if self._stop.is_set():
                raise _Stopped

        shown = 0.0

        def show(done: int, total: int) -> None:
            # Not every piece: the window has other things to do than to count them.
            nonlocal shown
            if done == total or time.monotonic() > shown + _PROGRESS_SECONDS:
                shown = time.monotonic()
                self._progressed.emit(done, total)

        def work() -> str:
            folder = hub.fetch(plan, show, check)
            import_in_process(folder, plan.source.name)
            shutil.rmtree(folder, ignore_errors=True)
            return plan.source.title

        self._background.run(work, self._done, self._failed)

    def _import(self, path: Path, family: str, tokenizer: Path | None) -> None:
        self._start(f"Importing {path.name}…")

        def work() -> str:
            import_in_process(path, None, family or None, tokenizer)
            return path.name

        self._background.run(work, self._done, self._failed)

    def _start(self, text: str, cancellable: bool = False) -> None:
        self._stop.clear()
        if self._dialog is not None:
            self._dialog.set_busy(True, cancellable)
            self._dialog.set_message(text)

    def _show_progress(self, done: int, total: int) -> None:
        if self._dialog is not None and not self._stop.is_set():
            self._dialog.set_progress(done, total)

    def _done(self, what: str) -> None:
        before = set(self._session.models)
        self._session.set_models(available_models())
        self._show_models()
        new = [name for name in self._session.models if name not in before]
        if new:
            self._session.set_model(new[-1])
        if self._dialog is not None:
            self._dialog.set_busy(False)
            self._dialog.set_present(self._session.models)
            self._dialog.set_message(f"{what} is in your models now, and chosen.")

    def _failed(self, error: Exception) -> None:
        if self._dialog is None:
            return
        self._dialog.set_busy(False)
        if isinstance(error, _Stopped):
            self._dialog.set_message("Stopped; what was fetched is kept, and fetching goes on from there.")
        else:
            self._dialog.set_message(str(error), problem=True)
