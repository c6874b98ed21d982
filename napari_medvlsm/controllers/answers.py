"""Answers to the scan of a project that is in view: drawn, submitted, absent, reopened. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.drafts import Drafts
from napari_medvlsm.controllers.kept import keep_prediction
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.projects.states import ACCEPTED, TO_DO, State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case
from napari_medvlsm.core.prompts import target_name

if TYPE_CHECKING:
    from napari_medvlsm.controllers.project import Later, Project


class Answers:
    """Writes what a person does to the outlines of a project's scans, and what the model says beside it.

    Parameters
    ----------
    project : Project
    session, corrections, settings, write, call_later
        As `Project`.
    """

    def __init__(
        self,
        project: Project,
        session: Session,
        corrections: Corrections,
        settings: Settings,
        write: Callable[..., None],
        call_later: Later,
    ) -> None:
        self._project, self._session, self._corrections = project, session, corrections
        self._settings, self._write, self._call_later = settings, write, call_later
        self._drafts: Drafts | None = None
        # Hold-out outlines (number of the scan, and target) whose prediction was in sight before, and its outline.
        self._in_sight: dict[tuple[int, str], Annotation] = {}
        # What is being handed over: it is written as the answer, and not as a draft before.
        self._handed: tuple[int, str] | None = None
        session.segmented.connect(self._on_segmented)
        corrections.settled.connect(self._on_settled)
        corrections.retracted.connect(self._on_retracted)

    def open(self, store: ProjectStore) -> None:
        """Write into this project from now on."""
        drafts = self._drafts = Drafts(store, self._write, self._call_later)
        drafts.saved.connect(self._on_saved)
        # psygnal tries a slot without a signature by calling it, and somebody listens already.
        drafts.message.connect(lambda text, problem: self._project.message.emit(text, problem))

    def close(self) -> None:
        """Hand over what waits to be written; nothing after it."""
        self._corrections.flush()
        if self._drafts is not None:
            self._drafts.close()
        self._drafts, self._in_sight = None, {}

    def pending(self, case_id: int) -> bool:
        """Whether something of a scan is not on disk yet."""
        return self._drafts is None or self._drafts.pending(case_id)

    def note_in_sight(self, predicted: Annotation) -> None:
        """Remember that the model's outline of a scan that is held out was seen."""
        case = self._project.case
        if case is not None and case.split == "test":
            self._in_sight.setdefault((case.id, predicted.target), predicted)

    def take_over(self, case: Case) -> None:
        """Write what was drawn on a scan before the project, or this scan in it, was open, and is kept nowhere else."""
        if self._project.read_only:
            return
        for drawn in self._corrections.unsaved():
            of_case = drawn.provenance.scan_hash == case.pixels_hash
            if of_case and case.states.get(self._project.asked(drawn.target, case)) is State.UNSEEN:
                self._on_settled(drawn)

    def submit(self) -> None:
        """Hand the outline in view over to a second person, then show what is next."""
        if (case := self._case_in_view()) is None:
            return
        target = self._project.target
        spoken = self._project.spoken(target)
        if not self._is_worked_on(target):
            return
        found = self._corrections.completed(spoken) or self._confirmed(spoken)
        if found is None:
            self._project.message.emit(
                f"Nothing is outlined as {target_name(target)}: draw it, segment it, or answer that there is none.",
                True,
            )
        else:
            self._answer(case, found)

    def declare_absent(self) -> None:
        """Answer that the scan in view does not show the target, then show what is next."""
        if (case := self._case_in_view()) is None:
            return
        project, target = self._project, self._project.target
        if case.states.get(target, State.UNSEEN) in ACCEPTED:
            project.message.emit(
                f"{target_name(target)} in {case.name} is {project.state} already; reopen it first.", True
            )
            return
        if not self._is_worked_on(target):
            return
        self._corrections.declare_absent()
        found = self._corrections.completed(project.spoken(target))
        if found is not None:
            self._answer(case, found)

    def reopen(self) -> None:
        """Take an answer back: the outline in view can be changed again."""
        if (case := self._case_in_view()) is None or self._project.store is None:
            return
        target = self._project.target
        self._write(
            partial(self._project.store.reopen, case.id, target),
            lambda _: self._on_reopened(case.id, target),
            self._project.fail,
        )

    # Within: what is written -----------------------------------------------------------------------------------------

    def _on_settled(self, annotation: Annotation) -> None:
        """Somebody painted, a moment ago."""
        if self._drafts is None or self._project.store is None:
            return
        scan_hash = annotation.provenance.scan_hash
        in_view = self._project.case is not None and self._project.case.pixels_hash == scan_hash
        case = self._project.case if in_view else self._project.ask(lambda s: s.find_case(scan_hash), None)
        if case is None:
            return
        entry = self._entry_of(case, annotation)
        if (case.id, entry.target) == self._handed:
            return
        if entry.absent:
            self._note_absent(self._project.store, case, entry)
        else:
            self._drafts.save(case.id, entry)

    def _note_absent(self, store: ProjectStore, case: Case, entry: Annotation) -> None:
        """Store the answer that there is nothing, which is no draft; the scan stays in view."""
        assert self._drafts is not None, "a project is open"
        self._drafts.drop(case.id, entry.target)
        self._write(
            partial(_mark_absent, store, case.id, entry), lambda _: self._on_saved(case.id, entry), self._project.fail
        )

    def _on_retracted(self, scan_hash: str, spoken: str) -> None:
        """A person took the answer back that there is nothing: it does not stay in the project, either."""
        case, store = self._project.case, self._project.store
        if case is None or store is None or case.pixels_hash != scan_hash:
            return
        target = self._project.asked(spoken, case)
        if store.read_only:
            self._project.message.emit("The project was opened read-only, so your answer stays in it.", True)
        elif case.states.get(target) is State.APPROVED:
            self._project.message.emit(
                f"{target_name(target)} in {case.name} is approved, so the answer stays in the project; reopen it "
                "there before it is changed.",
                True,
            )
        else:
            self._write(
                partial(_take_back, store, case.id, target),
                lambda taken: self._project.on_reviewed(case.id, target) if taken else None,
                self._project.fail,
            )

    def _on_saved(self, case_id: int, annotation: Annotation) -> None:
        self._corrections.mark_stored(self._as_open(annotation), _saved_now())
        case = self._project.case
        state = case.states.get(annotation.target) if case is not None and case.id == case_id else None
        if state is not (State.ABSENT if annotation.absent else State.DRAFT):
            self._project.refresh()
        self._project.put_away()

    def _on_segmented(self) -> None:
        """Keep what the model says, beside what a person drew."""
        case, store = self._project.case, self._project.store
        if case is None or store is None:
            return
        for spoken in sorted(self._session.together):
            predicted = self._session.predicted(spoken)
            if predicted is not None and self._project.asked(spoken) in case.states:
                predicted = replace(predicted, target=self._project.asked(spoken))
                self.note_in_sight(predicted)
                if not store.read_only:
                    self._write(
                        partial(keep_prediction, store, case.id, predicted), self._on_written, self._project.fail
                    )
        if case.split == "test" and case.state in TO_DO:
            self._project.message.emit(
                f"{case.name} is held out for judging models; as the model's outline is in sight, yours counts as "
                "model-assisted.",
                False,
            )

    def _answer(self, case: Case, found: Annotation) -> None:
        store, drafts = self._project.store, self._drafts
        assert store is not None and drafts is not None, "the scan is one of the project"
        found = self._entry_of(case, found)
        self._handed = case.id, found.target
        self._corrections.flush()
        self._handed = None
        drafts.drop(case.id, found.target)
        write = store.mark_absent if found.absent else store.submit

        def failed(error: Exception) -> None:
            self._project.fail(error)
            if (
                store is self._project.store
                and case.states.get(found.target, State.UNSEEN) in TO_DO
                and found.mask.any()
            ):
                drafts.save(case.id, found)

        self._write(partial(write, case.id, found.target, found), lambda _: self._on_answered(case, found), failed)

    def _on_answered(self, case: Case, found: Annotation) -> None:
        spoken = self._project.spoken(found.target)
        current = self._corrections.of_scan().get(spoken) if self._is_in_view(case) else None
        if current is not None and current.mask is found.mask:
            self._corrections.mark_stored(current, _saved_now())
        self._project.refresh()
        what = "answered as not there" if found.absent else "submitted"
        self._project.message.emit(f"{target_name(found.target)} in {case.name}: {what}.", False)
        if not self._is_in_view(case) or self._project.case is None:
            return
        states = self._project.told_apart(self._project.case)
        if left := [target for target, state in states.items() if state in TO_DO]:
            self._project.choose_target(left[0])
        else:
            self._project.go_on()

    def _on_reopened(self, case_id: int, target: str) -> None:
        self._project.refresh()
        case, current = self._project.case, self._corrections.completed(self._project.spoken(target))
        if case is None or case.id != case_id or current is None:
            return
        if current.absent:
            self._project.choose_target(target)
            self._corrections.retract_absent()
            # What was drawn before the answer, where this window does not know it.
            self._project.on_reviewed(case_id, target)
            return
        self._project.message.emit(f"{target_name(target)} in {case.name} can be changed again.", False)
        if not self._corrections.is_stored(case.pixels_hash) and self._drafts is not None:
            self._drafts.save(case_id, self._entry_of(case, current))

    def _confirmed(self, target: str) -> Annotation | None:
        """The model's outline, which the person hands over as it is; None where it outlined nothing."""
        predicted = self._session.predicted(target)
        if predicted is None or not predicted.mask.any():
            return None
        made = replace(predicted.provenance, author=self._settings.author)
        return replace(predicted, corrected=True, prediction=predicted.mask, provenance=made)

    def _entry_of(self, case: Case, annotation: Annotation) -> Annotation:
        """A correction as the project keeps it."""
        return self._honest(case, replace(annotation, target=self._project.asked(annotation.target, case)))

    # Within: the hold-out --------------------------------------------------------------------------------------------

    def _honest(self, case: Case, annotation: Annotation) -> Annotation:
        """Of the hold-out: marked as model-assisted where the model's outline was in sight, whatever it began from."""
        seen = self._in_sight.get((case.id, annotation.target)) if case.split == "test" else None
        if seen is None or annotation.prediction is not None or seen.mask.shape != annotation.mask.shape:
            return annotation
        return replace(annotation, prediction=seen.mask)

    def _as_open(self, annotation: Annotation) -> Annotation:
        """The correction that is open of what was saved, if it is the same state of it."""
        found = self._corrections.find(annotation.provenance.scan_hash, self._project.spoken(annotation.target))
        return found if found is not None and found.mask is annotation.mask else annotation

    def _case_in_view(self) -> Case | None:
        self._session.view.settle()
        if self._project.case is None:
            self._project.message.emit(
                "Open a scan of the project first." if self._project.store else "Open a project first.", True
            )
        return self._project.case

    def _is_worked_on(self, target: str) -> bool:
        """Whether a target is what the prompt is about; else it is now, for the person to look at before answering."""
        if self._session.prompt.text and self._session.target_in_view.phrase == self._project.spoken(target):
            return True
        self._project.choose_target(target)
        self._project.message.emit(
            f"Another outline was in view. Here is {target_name(target)}, which the project asks for: look at it, then "
            "answer again.",
            True,
        )
        return False

    def _is_in_view(self, case: Case) -> bool:
        return self._project.case is not None and self._project.case.id == case.id

    def _on_written(self, written: object) -> None:
        if written is not None:
            self._project.refresh()


def _mark_absent(store: ProjectStore, case_id: int, entry: Annotation) -> None:
    if store.case(case_id).states.get(entry.target) is not State.ABSENT:
        store.mark_absent(case_id, entry.target, entry)


def _take_back(store: ProjectStore, case_id: int, target: str) -> bool:
    """Reopen an outline that was answered as absent, whenever that was; whether it was."""
    absent = store.case(case_id).states.get(target) is State.ABSENT
    if absent:
        store.reopen(case_id, target)
    return absent


def _saved_now() -> str:
    return f"Saved in the project at {datetime.now():%H:%M:%S}."
