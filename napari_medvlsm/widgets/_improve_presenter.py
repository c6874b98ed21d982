"""Improving the model, joined with its tab."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QMessageBox, QTabWidget, QWidget

from napari_medvlsm.controllers.before_after import BeforeAfter, BothOutlines
from napari_medvlsm.controllers.improve import Improve
from napari_medvlsm.controllers.improve_words import before_and_after, by_target, how_far, learned_from, time_left
from napari_medvlsm.controllers.outlook import Options
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.datasets.splits import TEST
from napari_medvlsm.core.improve.rounds import RoundState
from napari_medvlsm.core.improve.sentences import details, recommendation
from napari_medvlsm.core.improve.verdict import Advice
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.prompts import target_name
from napari_medvlsm.widgets._prompt_presenter import open_dialog
from napari_medvlsm.widgets.dialogs import BeforeAfterDialog, CardDialog
from napari_medvlsm.widgets.tabs.improve import ImproveTab

# Of the settings: the folder that a model was last exported to.
_EXPORTED = "exported model"
_TITLE = "Improve"


class ImprovePresenter(QObject):
    """Shows what there is, and passes on what the tab asks for.

    Parameters
    ----------
    improve : Improve
    before_after : BeforeAfter
    session : Session
    tab : ImproveTab
    tabs : QTabWidget
        That the tab is one of: its title says how far a training is.
    settings : Settings
        Remembers folders.
    parent : QWidget
        Of the dialogs.
    """

    def __init__(
        self,
        improve: Improve,
        before_after: BeforeAfter,
        session: Session,
        tab: ImproveTab,
        tabs: QTabWidget,
        settings: Settings,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._improve, self._session, self._tab, self._tabs = improve, session, tab, tabs
        self._before_after, self._settings, self._parent = before_after, settings, parent
        self._dialog: BeforeAfterDialog | None = None
        self._closed = False
        tab.shown.connect(improve.watch)
        tab.startRequested.connect(improve.start)
        tab.timeRequested.connect(improve.measure_time)
        tab.optionsChanged.connect(self._on_options)
        tab.cancelRequested.connect(improve.cancel)
        tab.findings.showRequested.connect(improve.show)
        tab.findings.leaveOutRequested.connect(improve.leave_out)
        tab.left_out.takeAllRequested.connect(improve.take_all)
        tab.left_out.switchRequested.connect(self._switch)
        tab.round.stopRequested.connect(improve.stop)
        tab.round.goOnRequested.connect(improve.go_on)
        tab.round.finishRequested.connect(lambda: improve.go_on(finish=True))
        tab.round.giveUpRequested.connect(improve.keep)
        tab.verdict.promoteRequested.connect(lambda: improve.promote())
        tab.verdict.keepRequested.connect(improve.keep)
        tab.verdict.compareRequested.connect(self._compare)
        tab.models.promoteRequested.connect(improve.promote)
        tab.models.rollBackRequested.connect(improve.roll_back)
        tab.models.cardRequested.connect(self._show_card)
        tab.models.exportRequested.connect(self._ask_export)
        tab.models.deleteRequested.connect(self._ask_delete)
        improve.changed.connect(self._show)
        improve.project.case_changed.connect(self._show_left_out)
        improve.followed.connect(self._show_far)
        before_after.found.connect(self._show_outlines)
        before_after.failed.connect(self._show_no_outlines)
        self._show()

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True

    # What is shown --------------------------------------------------------------------------------------------------

    def _show(self) -> None:
        if self._closed:
            return
        improve, tab, outlook = self._improve, self._tab, self._improve.outlook
        store = improve.project.store
        tab.set_project(store.title if store is not None else "", store is not None)
        if outlook is not None:
            tab.set_outlook(
                learned_from(outlook.chosen), by_target(outlook.chosen), improve.time_sentence, improve.time is None
            )
            findings = [*improve.found, *outlook.chosen.findings]
            numbers = {finding.case_id for finding in findings if finding.stops and finding.case_id is not None}
            tab.findings.set_findings(findings, {number for number in numbers if improve.may_leave_out(number)})
            self._show_left_out()
            installed = [(e.card.title, e.name) for e in self._session.models.values() if "/" not in e.name]
            own = [(model.title, model.name) for model in outlook.models if model.round is not None]
            tab.set_bases([*own, *installed], improve.options)
            self._show_models()
        tab.next.setVisible(outlook is not None and improve.view is None)
        tab.models.setVisible(outlook is not None)
        self._show_verdict()
        self._show_far()

    def _show_left_out(self) -> None:
        improve, outlook = self._improve, self._improve.outlook
        if self._closed or outlook is None:
            return
        case = improve.project.case
        self._tab.left_out.set_names([other.name for other in outlook.left_out])
        if case is None:
            self._tab.left_out.set_scan("", False, False)
        else:
            self._tab.left_out.set_scan(case.name, case.id in improve.left_out, case.split == TEST)

    def _switch(self) -> None:
        """Leave the scan in view out, or take it again."""
        improve, case = self._improve, self._improve.project.case
        if case is not None:
            improve.leave_out(case.id, case.id not in improve.left_out)

    def _show_models(self) -> None:
        improve, outlook = self._improve, self._improve.outlook
        assert outlook is not None, "called when it is there"
        lines = []
        for model in outlook.models:
            about = "shipped or installed" if model.round is None else _date(model.round.plan.created)
            lines.append(
                (
                    model.name,
                    f"{'●' if model.present else '○'} {model.title}, {about}{', in use' if model.present else ''}",
                )
            )
        writable = not improve.project.read_only
        current = improve.view.round.name if improve.view is not None else ""
        own = [model for model in outlook.models if model.round is not None]
        promotable = {m.name for m in outlook.models if not m.present and (m.round is None or m.round.measured)}
        deletable = {model.name for model in own if model.name not in outlook.kept and model.name != current}
        self._tab.models.set_models(
            lines, promotable if writable else set(), deletable if writable else set(), bool(outlook.back) and writable
        )

    def _show_verdict(self) -> None:
        improve, box = self._improve, self._tab.verdict
        view, verdict = improve.view, improve.verdict
        finished = view is not None and view.state is RoundState.FINISHED
        box.setVisible(finished)
        box.set_enabled(improve.doing is None and not improve.project.read_only)
        if not finished or view is None:
            return
        if verdict is None:
            box.set_verdict(
                f"The results cannot be compared. {improve.unread} Delete the folders “before” and “after” in "
                f"{view.round.folder}, and open the project again: “Go on” measures both models anew."
                if improve.unread
                else "No scan of the hold-out is finished, so nobody can say whether it got better.",
                (),
                "",
                "",
                "",
                (),
                False,
            )
            return
        pair, worst = verdict.overall, verdict.worst
        count = pair.difference.cases
        counted = (
            f"Of {count} outlines that are held out, {pair.wins} got better, {pair.losses} worse"
            f"{f', {pair.ties} stayed' if pair.ties else ''}."
            if count
            else ""
        )
        said = (
            f"{'Greatest loss' if worst.gain < 0 else 'Least gain'}: {target_name(worst.case.target)} in "
            f"{worst.case.name}, Dice {worst.first:.2f} before, {worst.second:.2f} now."
            if worst is not None
            else ""
        )
        box.set_verdict(
            recommendation(verdict),
            before_and_after(verdict),
            counted,
            said,
            improve.known,
            details(verdict),
            verdict.advice is Advice.PROMOTE,
        )

    def _show_far(self) -> None:
        if self._closed:
            return
        improve, tab, view = self._improve, self._tab, self._improve.view
        tab.set_doing(improve.doing)
        for choice in (tab.start, tab.measure):
            choice.setEnabled(improve.startable)
        finished = view is not None and view.state is RoundState.FINISHED
        tab.round.setVisible(view is not None and not finished)
        title = _TITLE
        if view is not None and not finished:
            running, progress = improve.running, view.progress
            training = running and progress.stage == "training" and progress.steps > 0
            done = ((progress.step, progress.steps) if training else (0, 0)) if running else None
            tab.round.set_far(how_far(view), time_left(view), done, improve.memory)
            has_best = view.round.run.best_checkpoint is not None
            tab.round.set_choices(running, not running and improve.doing is None, has_best)
            dice = [(e.epoch + 1.0, e.val_dice) for e in view.epochs if e.val_dice is not None]
            tab.round.chart.set_curves(view.losses, dice, progress.epochs)
            tab.round.chart.setVisible(bool(view.losses))
            tab.round.set_log(view.log)
            if running:
                title = f"{_TITLE} {100 * progress.step // progress.steps} %" if training else f"{_TITLE} …"
        elif finished:
            title = f"{_TITLE} ●"
        self._tabs.setTabText(self._tabs.indexOf(tab), title)

    # What is asked for ----------------------------------------------------------------------------------------------

    def _on_options(self, options: Options) -> None:
        self._improve.set_options(replace(options, left_out=self._improve.options.left_out))

    def _compare(self) -> None:
        """The cases one by one, the worst first."""
        improve = self._improve
        view, verdict, outlook = improve.view, improve.verdict, improve.outlook
        if view is None or verdict is None or outlook is None or not verdict.pairs:
            return
        models = {model.name: model for model in outlook.models}
        both = [models[n] for n in (view.round.plan.present.name, view.round.name) if n in models]
        if len(both) < 2:
            improve.message.emit("One of the two models is not there any more.", True)
            return
        if self._dialog is not None:
            self._dialog.close()
        color = self._session.vocabulary.target(verdict.pairs[0].case.target).display_color
        titles = (both[0].title, both[1].title)
        self._dialog = dialog = BeforeAfterDialog(verdict.pairs, titles, color, self._parent)
        dialog.caseChosen.connect(lambda pair: self._before_after.show(pair, both))
        dialog.finished.connect(self._forget_dialog)
        open_dialog(dialog)
        dialog.choose(0)

    def _forget_dialog(self) -> None:
        self._dialog = None
        self._before_after.forget()

    def _show_outlines(self, both: BothOutlines) -> None:
        if self._dialog is not None:
            self._dialog.show_outlines(both)

    def _show_no_outlines(self, text: str) -> None:
        if self._dialog is not None:
            self._dialog.say(text)

    def _show_card(self, name: str) -> None:
        outlook = self._improve.outlook
        model = next((m for m in outlook.models if m.name == name), None) if outlook is not None else None
        if model is not None:
            open_dialog(CardDialog(model.card, self._session.vocabulary, self._parent))

    def _ask_export(self, name: str) -> None:
        folder, _ = QFileDialog.getSaveFileName(
            self._parent, "Folder of the exported model", self._settings.folder(_EXPORTED)
        )
        if folder:
            self._settings.set_folder(_EXPORTED, str(Path(folder).parent))
            self._improve.export(name, Path(folder))

    def _ask_delete(self, name: str) -> None:
        asked = QMessageBox.question(
            self._parent,
            "Delete a model",
            f"Delete model {name} and its copy of the data? Your outlines stay. This cannot be taken back.",
        )
        if asked == QMessageBox.StandardButton.Yes:
            self._improve.delete(name)


def _date(created: str) -> str:
    return created[:10]
