"""Models: picked, read about, fetched and imported; and what they run on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.io.atomic import megabytes
from napari_medvlsm.core.models.checkpoints.import_process import import_in_process
from napari_medvlsm.core.models.store import hub
from napari_medvlsm.core.models.store.download import download_and_import
from napari_medvlsm.core.models.store.naming import ModelExists
from napari_medvlsm.core.models.store.registry import available_models, fetched_folder
from napari_medvlsm.core.models.store.sources import SOURCES, find_source
from napari_medvlsm.widgets import dialogs
from napari_medvlsm.widgets._prompt_presenter import open_dialog
from napari_medvlsm.widgets._workers import Background
from napari_medvlsm.widgets.sections import ModelSection

# Progress is shown at most this often.
_PROGRESS_SECONDS = 0.1


class Stopped(Exception):
    """The person cancelled what was going on."""


class _Job:
    """One thing that goes on beside the window; a later one does not revive it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether it is to end."""
        return self._event.is_set()

    def stop(self) -> None:
        """End it at its next step."""
        self._event.set()

    def check(self) -> None:
        """Raise `Stopped` if it is to end."""
        if self.stopped:
            raise Stopped


class ModelPresenter(QObject):
    """Joins the session's models with their section and the dialog that gets more.

    Parameters
    ----------
    session : Session
    section : ModelSection
    parent : QWidget
        Of the dialogs.
    """

    _progressed = Signal(object, object, object)  # job, bytes done, bytes of all: more than an int of Qt holds

    def __init__(self, session: Session, section: ModelSection, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._section, self._parent = session, section, parent
        # Of its own: a long download keeps no scan waiting.
        self._background = Background(self)
        self._job = _Job()
        self._dialog: dialogs.ModelsDialog | None = None
        self._plan: hub.Plan | None = None
        section.modelChosen.connect(session.set_model)
        section.cardRequested.connect(self._show_card)
        section.moreRequested.connect(self._show_more)
        section.deviceChosen.connect(session.engine.choose)
        session.model_changed.connect(self._show_current)
        session.models_changed.connect(self._show_models)
        session.engine.devices_found.connect(lambda devices: section.set_devices(devices, *session.engine.chosen))
        session.engine.precision_found.connect(lambda _: self._show_running())
        self._progressed.connect(self._show_progress)
        self._show_models()

    def close(self) -> None:
        """Stop what is being fetched; it goes on from there next time."""
        self._job.stop()
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
            open_dialog(dialogs.CardDialog(self._session.model.card, self._session.vocabulary, self._parent))

    def _show_more(self) -> None:
        if self._dialog is not None:
            self._dialog.raise_()
            return
        self._dialog = dialog = dialogs.ModelsDialog(list(SOURCES.values()), self._parent)
        dialog.set_present(self._session.models)
        dialog.planRequested.connect(self._ask)
        dialog.fetchRequested.connect(lambda: self._fetch())
        dialog.cancelRequested.connect(lambda: self._job.stop())
        dialog.importRequested.connect(self._import)
        dialog.destroyed.connect(self._forget_dialog)
        open_dialog(dialog)

    def _forget_dialog(self) -> None:
        self._dialog = None
        self._plan = None
        self._job.stop()

    def _ask(self, name: str) -> None:
        source = find_source(name)
        job = self._start("Asking the hub…")
        self._run(job, partial(hub.plan, source, fetched_folder(source.name)), self._show_plan)

    def _show_plan(self, plan: hub.Plan) -> None:
        if self._dialog is None:
            return
        self._dialog.set_busy(False)
        if self._dialog.source().name != plan.source.name:
            return  # the answer to a question of an earlier dialog
        self._plan = plan
        self._dialog.set_plan(
            f"{megabytes(plan.left)} of {megabytes(plan.total)} to fetch from {plan.endpoint}; "
            f"{megabytes(plan.free)} free on the disk."
        )

    def _fetch(self, replace: bool = False) -> None:
        plan = self._plan
        if plan is None:
            return
        job = self._start("Fetching…")
        shown = 0.0

        def show(done: int, total: int) -> None:
            # Not every piece: the window has other things to do than to count them.
            nonlocal shown
            if done == total or time.monotonic() > shown + _PROGRESS_SECONDS:
                shown = time.monotonic()
                self._progressed.emit(job, done, total)

        work = partial(download_and_import, plan, import_in_process, None, show, job.check, replace)
        self._run(job, work, self._done, lambda: self._fetch(replace=True))

    def _import(self, path: Path, family: str, tokenizer: Path | None, replace: bool = False) -> None:
        job = self._start(f"Importing {path.name}…")
        work = partial(
            import_in_process,
            path,
            None,
            family or None,
            tokenizer,
            replace_existing=replace,
            check=job.check,
        )
        self._run(job, work, self._done, lambda: self._import(path, family, tokenizer, replace=True))

    def _start(self, text: str) -> _Job:
        self._job = _Job()
        if self._dialog is not None:
            self._dialog.set_busy(True, cancellable=True)
            self._dialog.set_message(text)
        return self._job

    def _run(
        self, job: _Job, work: Callable[[], Any], done: Callable[[Any], None], again: Callable[[], None] | None = None
    ) -> None:
        self._background.run(work, done, lambda error: self._failed(job, error, again))

    def _show_progress(self, job: _Job, done: int, total: int) -> None:
        if self._dialog is not None and job is self._job and not job.stopped:
            self._dialog.set_progress(done, total)

    def _done(self, folder: Path) -> None:
        self._session.set_models(available_models())
        if folder.name in self._session.models:
            self._session.set_model(folder.name)
        if self._dialog is not None:
            self._dialog.set_busy(False)
            self._dialog.set_present(self._session.models)
            self._dialog.set_message(f"{folder.name} is in your models now, and chosen.")

    def _failed(self, job: _Job, error: Exception, again: Callable[[], None] | None) -> None:
        if self._dialog is None or job is not self._job:
            return
        self._dialog.set_busy(False)
        if isinstance(error, Stopped):
            self._dialog.set_message("Stopped; what was fetched is kept, and fetching goes on from there.")
        elif isinstance(error, ModelExists) and again is not None:
            if self._dialog.ask_to_replace(str(error)):
                again()
            else:
                self._dialog.set_message("The model that is there was left alone.")
        else:
            self._dialog.set_message(str(error), problem=True)
