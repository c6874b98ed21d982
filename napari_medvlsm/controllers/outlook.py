"""What the next round of a project would be made of, and what there is of rounds and models. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medvlsm.controllers.round_watch import RoundView, RoundWatch
from napari_medvlsm.core.improve import versions
from napari_medvlsm.core.improve.cases import Chosen, choose_cases
from napari_medvlsm.core.improve.estimate import TrainingTime, from_rounds
from napari_medvlsm.core.improve.history import earlier_models, read_history
from napari_medvlsm.core.improve.plan import RECIPE
from napari_medvlsm.core.improve.rounds import RoundState, find_rounds
from napari_medvlsm.core.improve.sentences import known_of_hold_out, not_measured
from napari_medvlsm.core.improve.verdict import Verdict, judge
from napari_medvlsm.core.projects.states import ACCEPTED, State
from napari_medvlsm.core.projects.store import ProjectStore
from napari_medvlsm.core.projects.values import Case

_DECIDED = (RoundState.PROMOTED, RoundState.REJECTED)
# Only what a second person accepted, and answers of absence.
_APPROVED = (State.APPROVED, State.ABSENT)


@dataclass(frozen=True)
class Options:
    """How the next round is trained.

    Attributes
    ----------
    base : str
        Name of the model to start from; "" for the present one.
    approved_only : bool
        Leave out what no second person accepted yet.
    epochs : int
        At most so many; 0 for as many as the recipe says.
    minutes : int
        The training ends after this time; 0 for no limit.
    replay : bool
        Show it scans that came with the model, too, so that it forgets nothing.
    recipe : str
    more : tuple of str
        Further `key=value` words of the recipe.
    left_out : tuple of int or None
        Ids of scans that a person leaves out; None for those of the latest round.
    """

    base: str = ""
    approved_only: bool = False
    epochs: int = 0
    minutes: int = 0
    replay: bool = True
    recipe: str = RECIPE
    more: tuple[str, ...] = ()
    left_out: tuple[int, ...] | None = None

    @property
    def states(self) -> tuple[State, ...]:
        """Of the outlines that are used."""
        return _APPROVED if self.approved_only else tuple(ACCEPTED)

    @property
    def changes(self) -> tuple[str, ...]:
        """The `key=value` words of the recipe."""
        epochs = (f"trainer.max_epochs={self.epochs}",) if self.epochs else ()
        replay = () if self.replay else ("replay.share=0",)
        return (*epochs, *replay, *self.more)


@dataclass(frozen=True)
class Outlook:
    """What the next round would be made of, and the models that there are.

    Attributes
    ----------
    chosen : Chosen
        The outlines that would be used, with what the database says against them.
    models : tuple of ProjectModel
    time : TrainingTime or None
        None before any round was trained on this computer.
    back : str
        Name of the model that rolling back leads to; "" where there is none.
    kept : tuple of str
        Names of models that cannot be deleted.
    left_out : tuple of Case
        Scans that a person leaves out.
    """

    chosen: Chosen
    models: tuple[versions.ProjectModel, ...]
    time: TrainingTime | None
    back: str
    kept: tuple[str, ...]
    left_out: tuple[Case, ...]

    @property
    def present(self) -> versions.ProjectModel | None:
        """The present model; None where it is not there any more."""
        return next((model for model in self.models if model.present), None)


@dataclass(frozen=True)
class Found:
    """What the folder of a project says.

    Attributes
    ----------
    outlook : Outlook
    view : RoundView or None
        Of the latest round, as long as nobody decided about its model.
    verdict : Verdict or None
        Where that round is finished and there was a hold-out.
    known : str
        Then, whether its models may know the hold-out.
    unread : str
        Why the results of a finished round cannot be compared; "".
    """

    outlook: Outlook
    view: RoundView | None
    verdict: Verdict | None
    known: str = ""
    unread: str = ""


def left_out(store: ProjectStore, options: Options) -> tuple[int, ...]:
    """Ids of the scans that a person leaves out: those of the options, or of the latest round."""
    if options.left_out is not None:
        return options.left_out
    rounds = find_rounds(store.folder)
    return rounds[-1].plan.left_out if rounds else ()


def look(store: ProjectStore, options: Options) -> Found:
    """All that the folder of a project says; beside the window."""
    without = left_out(store, options)
    chosen = choose_cases(store, options.states, without=without)
    rounds, history = find_rounds(store.folder), read_history(store.folder)
    models = tuple(versions.project_models(store.folder))
    earlier = earlier_models(history)
    present = next((model.name for model in models if model.present), "")
    outlook = Outlook(
        chosen,
        models,
        from_rounds(rounds, chosen.scans("train"), options.epochs),
        earlier[-1] if earlier else "",
        (present, *earlier),
        tuple(store.cases(without)),
    )
    latest = rounds[-1] if rounds else None
    if latest is None:
        return Found(outlook, None, None)
    view = RoundWatch(latest).look()
    if view.state in _DECIDED:
        return Found(outlook, None, None)
    if view.state is not RoundState.FINISHED or not latest.plan.held_out:
        return Found(outlook, view, None)
    try:
        verdict = judge(latest.before, latest.after, latest.plan.cases)
    except ValueError as error:  # which must not keep a person from deciding, or from all the other models
        return Found(outlook, view, None, unread=str(error))
    known = known_of_hold_out(versions.unlisted_bases(latest))
    others = not_measured(verdict, versions.known_before(latest), versions.kept_base(latest))
    return Found(outlook, view, verdict, f"{known} {others}".strip())
