"""Improving the open project's model: what it would learn from, the round that runs, its verdict. No Qt, no napari.

All that is known of a round lies in its folder, so that it goes on without the window and is found again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from psygnal import Signal

from napari_medvlsm.controllers.improve_words import how_far
from napari_medvlsm.controllers.memory import spare_memory
from napari_medvlsm.controllers.outlook import Found, Options, Outlook, look
from napari_medvlsm.controllers.project import Later, Project
from napari_medvlsm.controllers.round_begin import Doing, begin_round, start_behind, try_round
from napari_medvlsm.controllers.round_watch import RoundView, RoundWatch
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.datasets.splits import TEST
from napari_medvlsm.core.improve import versions
from napari_medvlsm.core.improve.cases import Finding
from napari_medvlsm.core.improve.estimate import TrainingTime
from napari_medvlsm.core.improve.rounds import Round, RoundState, reject_round, stop_round
from napari_medvlsm.core.improve.stopping import Cancelled, Stop
from napari_medvlsm.core.improve.verdict import Verdict
from napari_medvlsm.core.io.disk_errors import sentence
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.projects.store import ProjectStore

# Seconds between two looks at a round that runs.
LOOK_SECONDS = 1.0
# Wait this long after a change of the project before its outlines are counted anew.
_SETTLE_SECONDS = 0.5
# While something is done beside the window, this often is said how far it is.
_TELL_SECONDS = 0.2
# What the training of the starter takes at most (tests/bench/cycle.py measures it); less free memory is short.
TRAINING_BYTES = 2 * 2**30


class Improve:
    """Starts and follows rounds of the open project, and carries out what a person decides about their models.

    Parameters
    ----------
    project : Project
    session : Session
        Gets the project's models.
    run : callable
        ``run(function, done, failed)``: carries out a function beside the window, one after the other.
    call_later : callable
        ``call_later(seconds, function)``.
    """

    changed = Signal()  # what would be learned from, the models, the round or its verdict
    followed = Signal()  # how far the round, or what is done beside the window, is
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(self, project: Project, session: Session, run: Callable[..., None], call_later: Later) -> None:
        self._project, self._session = project, session
        self._run, self._call_later = run, call_later
        self.options = Options()
        self.outlook: Outlook | None = None
        # What stops the start, found when the scans were read.
        self.found: tuple[Finding, ...] = ()
        # What is done beside the window, and how far it is.
        self.doing: Doing | None = None
        # The latest round, as long as nobody decided about its model, and what was measured.
        self.view: RoundView | None = None
        self.verdict: Verdict | None = None
        # Whether the two models may know the hold-out, for people.
        self.known = ""
        # Why a finished round has no verdict although it was measured.
        self.unread = ""
        self.memory = ""
        # From a trial with the present options; see `time`.
        self._trial: TrainingTime | None = None
        self._watch: RoundWatch | None = None
        self._store: ProjectStore | None = None
        self._looking = self._waiting = self._watched = self._closed = False
        project.changed.connect(self._on_project)
        self._on_project()

    # What there is --------------------------------------------------------------------------------------------------

    @property
    def project(self) -> Project:
        """The project."""
        return self._project

    @property
    def running(self) -> bool:
        """Whether a process works on the round, here or elsewhere."""
        return self.view is not None and self.view.state is RoundState.RUNNING

    @property
    def startable(self) -> bool:
        """Whether a new round may be begun now, as far as is known."""
        return (
            self.outlook is not None
            and self.view is None
            and self.doing is None
            and not self._project.read_only
            and not any(finding.stops for finding in self.outlook.chosen.findings)
        )

    @property
    def time(self) -> TrainingTime | None:
        """How long a training with the present options takes; None where nothing was measured."""
        found = self._trial or (self.outlook.time if self.outlook is not None else None)
        limit = 60 * self.options.minutes
        return replace(found, seconds=min(found.seconds, limit)) if found is not None and limit else found

    @property
    def time_sentence(self) -> str:
        """The same for people."""
        if self.time is not None:
            return self.time.sentence
        limit = f"It takes {self.options.minutes} minutes at most. " if self.options.minutes else ""
        return f"{limit}It goes on beside your work, and can be stopped at any time."

    def watch(self, watched: bool) -> None:
        """Whether somebody looks: outlines are counted anew as they are answered."""
        self._watched = watched
        if watched:
            self._look_soon()

    def set_options(self, options: Options) -> None:
        """Train the next round in another way."""
        if options != self.options:
            self.options, self.found, self._trial = options, (), None
            self._look_soon()

    @property
    def left_out(self) -> tuple[int, ...]:
        """Ids of the scans that the next round leaves out."""
        if self.options.left_out is not None:
            return self.options.left_out
        return tuple(case.id for case in self.outlook.left_out) if self.outlook is not None else ()

    def may_leave_out(self, case_id: int) -> bool:
        """Whether a scan may be left out: nobody chooses what models are judged by."""
        return self._project.ask(lambda s: s.case(case_id).split != TEST, False)

    def leave_out(self, case_id: int, out: bool = True) -> None:
        """Leave a scan out of the next rounds, or take it again."""
        if self.may_leave_out(case_id):
            others = {other for other in self.left_out if other != case_id}
            left = tuple(sorted(others | {case_id} if out else others))
            self.set_options(replace(self.options, left_out=left))
            name = self._project.ask(lambda s: s.case(case_id).name, "The scan")
            self._say(f"{name} is left out of the next training." if out else f"{name} is learned from again.")

    def take_all(self) -> None:
        """Leave no scan out."""
        self.set_options(replace(self.options, left_out=()))
        self._say("No scan is left out of the next training.")

    def show(self, case_id: int, target: str = "") -> None:
        """Show a scan of the project, with what is outlined there."""
        self._project.open_case(case_id, target)

    # A round --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Check every scan and outline, copy them, and start a round; it outlives the window."""
        store = self._writable()
        if store is None or self.doing or self.view is not None:
            return
        self.found = ()
        doing = Doing("Checking scans and outlines…", stop=Stop())
        work = partial(begin_round, store, self.options, self._session.vocabulary, doing)
        self._do(doing, work, self._on_begun)

    def measure_time(self) -> None:
        """Train for half a minute on a copy that is removed afterwards, to see how long a round would take."""
        store = self._writable()
        if store is not None and not self.doing and self.view is None:
            doing = Doing("Copying scans and outlines…", stop=Stop())
            work = partial(try_round, store, self.options, self._session.vocabulary, doing)
            self._do(doing, work, partial(self._on_tried, self.options))

    def cancel(self) -> None:
        """Do no more of what is being done before a round runs; nothing of it is kept."""
        doing = self.doing
        stop = doing.stop if doing is not None else None  # the other thread may take it away
        if doing is not None and stop is not None:
            stop.request()
            doing.says("Cancelling…")
            self.followed.emit()

    def stop(self) -> None:
        """Ask the round to stop after its present step; the best model so far is kept."""
        if self.view is not None:
            self._attempt(partial(stop_round, self.view.round), "The training stops after its present step.")

    def go_on(self, finish: bool = False) -> None:
        """Go on with a round that was interrupted; with `finish`, its best model so far is measured."""
        if self.view is None or self.running or self._writable() is None:
            return
        round_ = self.view.round

        def started() -> Round:
            start_behind(round_, finish)
            return round_

        self._do(Doing("Starting…"), started, self._on_begun)

    # Decisions ------------------------------------------------------------------------------------------------------

    def promote(self, name: str = "") -> None:
        """Make a model, by default that of the round, the present one: the window uses it from now on."""
        store = self._writable()
        name = name or (self.view.round.name if self.view is not None else "")
        if store is not None and name:
            work = partial(versions.promote, store.folder, name, store.person)
            self._do(Doing("Promoting…"), work, partial(self._on_decided, f"Model {name} is the present one now."))

    def keep(self) -> None:
        """Decide against the model of the round."""
        store = self._writable()
        if store is not None and self.view is not None:
            name = self.view.round.name
            work = partial(reject_round, self.view.round, store.person)
            self._do(
                Doing("…"),
                work,
                partial(self._on_decided, f"The present model stays; model {name} is kept in the list."),
            )

    def roll_back(self) -> None:
        """Make the model before the present one the present one again."""
        store = self._writable()
        if store is not None:
            work = partial(versions.roll_back, store.folder, store.person)
            self._do(
                Doing("Rolling back…"), work, partial(self._on_decided, "The model before is the present one again.")
            )

    def export(self, name: str, folder: Path) -> None:
        """Copy a model to a folder that does not exist yet."""
        store = self._project.store
        if store is not None:
            work = partial(versions.export_model, store.folder, name, folder)
            text = f"Model {name} is in {folder}; “Get more models…” or 'medvlsm models import' takes it."
            self._do(Doing("Copying…"), work, lambda _: self._say(text))

    def delete(self, name: str) -> None:
        """Delete a model of a round, with its data."""
        store = self._writable()
        if store is not None:
            work = partial(versions.delete_model, store.folder, name)
            self._do(Doing("Deleting…"), work, partial(self._on_decided, f"Model {name} is deleted."))

    def close(self) -> None:
        """Follow nothing any more; what runs goes on, and what has not begun to run does not."""
        self._closed = True
        self.cancel()

    # Within: looking ------------------------------------------------------------------------------------------------

    def _on_project(self) -> None:
        store = self._project.store
        if store is not self._store:
            self.cancel()
            self._store, self.outlook, self.view, self.verdict, self._watch = store, None, None, None, None
            self.found, self.memory, self.known, self.unread, self.options = (), "", "", "", Options()
            self._trial = None
            self._session.set_project_models({})
            self.changed.emit()
            if store is not None:
                self._look()
        elif self._watched:
            self._look_soon()

    def _look_soon(self) -> None:
        if not self._waiting and self._store is not None:
            self._waiting = True
            self._call_later(_SETTLE_SECONDS, self._look)

    def _look(self) -> None:
        """Read anew what there is."""
        self._waiting = False
        if self._store is not None and not self._closed:
            store = self._store
            self._run(partial(look, store, self.options), partial(self._on_read, store), partial(self._fail, store))

    def _on_read(self, store: ProjectStore, read: Found) -> None:
        if store is not self._store or self._closed:
            return
        first = self.outlook is None
        self.outlook, self.verdict, self.known, self.view = read.outlook, read.verdict, read.known, read.view
        self.unread = read.unread
        round_ = read.view.round if read.view is not None else None
        if round_ is None:
            self._watch = None
        elif self._watch is None or self._watch.round.folder != round_.folder:
            self._watch = RoundWatch(round_)
        self._offer(first)
        self.changed.emit()
        if first and self.view is not None and self.view.state is RoundState.FINISHED:
            self._say(f"Model {self.view.round.name} is trained and measured; the tab “Improve” shows how it did.")
        self._poll()

    def _offer(self, first: bool) -> None:
        """Let the session use the models of the project; the present one when it is opened."""
        store, outlook = self._store, self.outlook
        assert store is not None and outlook is not None, "called when they were read"
        own = {_entry_name(store, model): model for model in outlook.models if model.round is not None}
        entries = {name: ModelEntry(name, model.folder, model.card, False) for name, model in own.items()}
        self._session.set_project_models(entries)
        if first and outlook.present is not None and outlook.back:
            self._use_present()

    def _use_present(self) -> None:
        store, outlook = self._store, self.outlook
        model = outlook.present if outlook is not None else None
        if model is None or store is None:
            return
        name = _entry_name(store, model) if model.round is not None else model.name
        current = self._session.model
        if name in self._session.models and (current is None or current.name != name):
            self._session.set_model(name)

    # Within: following ----------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        if self.running and not self._looking:
            self._looking = True
            self._call_later(LOOK_SECONDS, self._follow)

    def _follow(self) -> None:
        watch, store = self._watch, self._store
        if watch is None or store is None or self._closed:
            self._looking = False
            return
        self._run(watch.look, partial(self._on_looked, store), partial(self._fail, store))

    def _on_looked(self, store: ProjectStore, view: RoundView) -> None:
        self._looking = False
        if store is not self._store or self._closed or self.view is None:
            return
        self.view = view
        self.followed.emit()
        if self.running:
            self._poll()
            return
        self.memory = ""
        ended = {
            RoundState.FINISHED: f"Model {view.round.name} is trained and measured; “Improve” shows how it did.",
            RoundState.FAILED: "The training ended early; the tab “Improve” says why.",
        }
        self._say(ended.get(view.state) or how_far(view) or "The training has ended.", view.state is RoundState.FAILED)
        self._look()

    # Within: what is done beside the window -------------------------------------------------------------------------

    def _on_tried(self, options: Options, found: TrainingTime) -> None:
        if options == self.options:
            self._trial = found
            self._say("It was measured how long a training takes; the tab “Improve” says it.")

    def _on_begun(self, begun: Round | tuple[Finding, ...]) -> None:
        if isinstance(begun, Round):
            self.memory = spare_memory(self._session.engine, TRAINING_BYTES, "a training")
            self._say("The training was started; it goes on without the window, too.")
        else:
            self.found = begun
            self._say(f"Nothing was started: {begun[0].sentence}", True)
            self.changed.emit()
        self._look()

    def _on_decided(self, text: str, _: object) -> None:
        self._say(text)
        store = self._store
        if store is None:
            return

        def read(found: Found) -> None:
            before = self.outlook.present if self.outlook is not None else None
            self._on_read(store, found)
            after = self.outlook.present if self.outlook is not None else None
            if before is not None and after is not None and before.name != after.name:
                self._use_present()

        self._run(partial(look, store, self.options), read, partial(self._fail, store))

    def _do(self, doing: Doing, work: Callable[[], object], done: Callable[..., None]) -> None:
        """Carry out something beside the window, one thing at a time."""
        store = self._store
        if self.doing is not None:
            self._say("Something else is being done; wait for it.", True)
            return
        self.doing = doing

        def ended(value: object) -> None:
            self.doing = None
            if store is self._store and not self._closed:
                done(value)
                self.changed.emit()

        def failed(error: Exception) -> None:
            self.doing = None
            if not isinstance(error, Cancelled):
                self._fail(store, error)
            elif store is self._store and not self._closed:
                self._say("Cancelled; nothing of it was kept.")
                self.changed.emit()
            self._look()

        self.changed.emit()
        self._tell()
        self._run(work, ended, failed)

    def _tell(self) -> None:
        if self.doing and not self._closed:
            self.followed.emit()
            self._call_later(_TELL_SECONDS, self._tell)

    def _attempt(self, work: Callable[[], object], text: str) -> None:
        try:
            work()
        except (OSError, ValueError) as error:
            self._say(sentence(error), True)
        else:
            self._say(text)

    def _writable(self) -> ProjectStore | None:
        store = self._project.store
        if store is None:
            self._say("Open a project first.", True)
        elif store.read_only:
            self._say("The project is open read-only; its models can only be looked at.", True)
            return None
        return store

    def _say(self, text: str, problem: bool = False) -> None:
        self.message.emit(text, problem)

    def _fail(self, store: ProjectStore | None, error: Exception) -> None:
        self._looking = False
        if store is self._store and not self._closed:
            self._say(sentence(error), True)
            self.changed.emit()


def _entry_name(store: ProjectStore, model: versions.ProjectModel) -> str:
    """Under which the session, and whatever is outlined with it, knows a model of the project."""
    return f"{store.folder.name}/{model.name}"
