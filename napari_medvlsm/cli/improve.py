"""`medvlsm improve`: train a project's model further on its own outlines, compare, promote, go back."""

from __future__ import annotations

import argparse
import difflib
import getpass
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import FAILED, OK
from napari_medvlsm.core.improve.history import called
from napari_medvlsm.core.projects.states import ACCEPTED

if TYPE_CHECKING:
    from napari_medvlsm.core.improve.cases import Chosen, Finding
    from napari_medvlsm.core.improve.plan import Base
    from napari_medvlsm.core.improve.rounds import Round
    from napari_medvlsm.core.improve.verdict import Verdict
    from napari_medvlsm.core.projects.store import ProjectStore

_DESCRIPTION = """\
Train a project's present model further on its own outlines, and measure it on the hold-out:

  medvlsm improve PROJECT                      choose, check, train, compare; a person promotes
  medvlsm improve PROJECT --dry-run            what would be trained on, and how long it would take
  medvlsm improve PROJECT --go-on [ROUND]      go on with a round that was interrupted, or trained elsewhere
  medvlsm improve PROJECT --prepare            only copy the data, and print the command for another computer

  medvlsm improve versions PROJECT             rounds and models, which is present, who promoted what when
  medvlsm improve compare PROJECT [ROUND]      candidate beside the model that was present then
  medvlsm improve promote PROJECT ROUND        make its model the present one
  medvlsm improve reject PROJECT ROUND         decide against it
  medvlsm improve rollback PROJECT             make the model before the present one
  medvlsm improve export PROJECT MODEL FOLDER  copy a model with its card, for 'medvlsm models import'
  medvlsm improve delete PROJECT ROUND         with its data; never the present model
"""
_EXAMPLES = 5


def add_to(commands: Any) -> None:
    """Add `improve` to the subparsers of `medvlsm`."""
    made = commands.add_parser(
        "improve",
        help="train a project's model further, compare, promote, go back",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("words", nargs="+", metavar="WORD", help="a project, or what to do with it; see above")
    made.add_argument("--dry-run", action="store_true", help="say what would be done; nothing is kept")
    made.add_argument("--prepare", action="store_true", help="copy the data and print the command; train nothing")
    made.add_argument(
        "--go-on", nargs="?", const="", metavar="ROUND", help="go on with this round, or with the latest one"
    )
    made.add_argument("--finish", action="store_true", help="with --go-on: take the best model so far")
    made.add_argument("--target", action="append", default=[], help="only this one; may be given again")
    made.add_argument(
        "--without", action="append", default=[], metavar="SCAN", help="leave this one out; may be given again"
    )
    made.add_argument(
        "--state",
        action="append",
        choices=sorted(ACCEPTED),
        help="of the outlines to take; may be given again (default: all of these)",
    )
    made.add_argument("--base", default="", metavar="MODEL", help="start from this model (default: the present one)")
    made.add_argument("--recipe", default="", help="name of a shipped recipe, or a file (default: that for own scans)")
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe; may be given again"
    )
    made.add_argument("--minutes", type=float, help="end the training after this time, at the end of an epoch")
    made.add_argument("--person", default="", help="who does it (default: the user's name on this computer)")
    made.add_argument("--remark", default="", help="kept with the round, or with the decision")
    made.set_defaults(run=_improve)


def _improve(options: argparse.Namespace) -> int:
    doing, rest = (options.words[0], options.words[1:]) if options.words[0] in _DOING else ("", options.words)
    run, least, most = _DOING.get(doing, (_run, 1, 1))
    if not least <= len(rest) <= most:
        raise ValueError("That is not how it is called; see 'medvlsm improve --help'.")
    options.person = options.person or _user()
    project = Path(rest[0])
    _require_project(project)
    return run(options, project.resolve(), rest[1:])


def _run(options: argparse.Namespace, project: Path, _: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.rounds import RoundState, find_round, find_rounds, require_startable

    if options.go_on is not None:
        round_ = find_round(project, options.go_on)
        require_startable(round_)
        return _work(round_, options.finish)
    rounds = find_rounds(project)
    unfinished = [r for r in rounds if r.state in (RoundState.RUNNING, RoundState.STOPPED)]
    # What a full disk cut off, for instance: it goes on.
    unfinished += [r for r in rounds if r.state is RoundState.FAILED and r.run.last_checkpoint]
    if unfinished and not options.dry_run:
        name = unfinished[-1].name
        raise ValueError(
            f"Round {name} is {unfinished[-1].state}: go on with 'medvlsm improve {project} --go-on {name}', or decide "
            f"against it with 'medvlsm improve reject {project} {name}'."
        )
    begun = _begin(options, project)
    if isinstance(begun, int):
        return begun
    round_ = begun
    if options.prepare:
        print(f"Round {round_.name} is prepared. Train it in its folder, on any computer that has the folder above it:")
        print(f"\n  cd {round_.folder}\n  {round_.plan.command}\n")
        print(f"Then 'medvlsm improve {project} --go-on {round_.name}' measures it beside the present model.")
        return OK
    return _work(round_, False)


def _begin(options: argparse.Namespace, project: Path) -> Round | int:
    """The new round; an exit code where something stops it, and after a dry run."""
    from napari_medvlsm.core.improve.cases import check_scans, choose_cases
    from napari_medvlsm.core.improve.estimate import by_trial
    from napari_medvlsm.core.improve.making import make_round, trial_round
    from napari_medvlsm.core.improve.plan import RECIPE
    from napari_medvlsm.core.improve.versions import base_of
    from napari_medvlsm.core.projects.states import State
    from napari_medvlsm.core.projects.store import ProjectStore
    from napari_medvlsm.core.prompts import load_vocabulary
    from napari_medvlsm.core.prompts.own_words import own_words_path

    states = {State(state) for state in options.state} if options.state else ACCEPTED
    base, present = base_of(project, options.base), base_of(project)
    with ProjectStore(project, options.person, read_only=True) as store:
        without = _ids(store, options.without)
        chosen = choose_cases(store, states, options.target, without)
        _tell_chosen(store, chosen, base)
        findings = [*chosen.findings, *check_scans(store, chosen.cases, base.trained | present.trained, _bar("scan"))]
        _tell_findings(findings)
        if any(finding.stops for finding in findings):
            print("medvlsm: nothing was begun; mend what is said above first.", file=sys.stderr)
            return FAILED
        vocabulary, recipe = load_vocabulary(own_words_path()), options.recipe or RECIPE
        if options.dry_run:
            changed: dict[str, Any] = {
                "recipe": recipe,
                "changes": options.set,
                "without": without,
                "progress": _bar("scan"),
            }
            with trial_round(store, chosen.cases, base, vocabulary, **changed) as trial:
                print(by_trial(trial).sentence)
            return OK
        return make_round(
            store,
            chosen.cases,
            base,
            vocabulary,
            present=present,
            recipe=recipe,
            changes=options.set,
            remark=options.remark,
            minutes=options.minutes,
            without=without,
            progress=_bar("scan"),
        )


def _ids(store: ProjectStore, names: Sequence[str]) -> set[int]:
    """Of scans by their names. Raises ValueError for a name that none has, or several have."""
    found: dict[str, list[int]] = {name: [] for name in names}
    for case in store.cases():
        if case.name in found:
            found[case.name].append(case.id)
    for name, ids in found.items():
        if len(ids) != 1:
            near = difflib.get_close_matches(name, [case.name for case in store.cases()], n=1, cutoff=0)
            how = f"{len(ids)} scans" if ids else "no scan"
            meant = f"; is {near[0]!r} meant?" if near and not ids else "."
            raise ValueError(f"{store.title} has {how} called {name!r}{meant}")
    return {ids[0] for ids in found.values()}


def _tell_chosen(store: ProjectStore, chosen: Chosen, base: Base) -> None:
    names = {"train": "training", "val": "validation", "test": "hold-out"}
    scans = ", ".join(f"{name} {chosen.scans(split)}" for split, name in names.items())
    finished = len({case.case_id for case in chosen.cases})
    print(f"{store.title}: {finished} finished scans ({scans}), from {called(base.name)}")
    for target in chosen.targets:
        absent = chosen.count(target=target, absent=True)
        print(f"  {target}: {chosen.count(target=target)} outlines{f', {absent} of them absent' if absent else ''}")


def _tell_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        how = "stop" if finding.stops else "mind"
        print(f"medvlsm: {how}, {finding.kind}: {finding.sentence}", file=sys.stderr)


def _work(round_: Round, finish: bool) -> int:
    from medvlsm_training.reporting import for_people
    from napari_medvlsm.core.improve.work import work

    print(f"Round {round_.name}, in {round_.folder}")
    with for_people(lambda: None) as report:
        end = work(round_, report, finish, print)
    print(end.sentence, file=sys.stdout if end.done else sys.stderr)
    if not end.done:
        print(f"'medvlsm improve {round_.project} --go-on {round_.name}' goes on with it.", file=sys.stderr)
        return end.code
    _tell_verdict(round_)
    return OK


def _tell_verdict(round_: Round) -> None:
    from napari_medvlsm.core.improve.sentences import details, known_of_hold_out, not_measured, recommendation
    from napari_medvlsm.core.improve.verdict import judge
    from napari_medvlsm.core.improve.versions import kept_base, known_before, unlisted_bases

    scans = len({case.case_id for case in round_.plan.held_out})
    print(f"Model {round_.name} beside {called(round_.plan.present.name)}, on {scans} scans that are held out:")
    if not scans:
        print("  No scan of the hold-out is finished, so nothing is known of which is better.")
        return
    verdict: Verdict = judge(round_.before, round_.after, round_.plan.cases)
    told = [recommendation(verdict), *details(verdict), known_of_hold_out(unlisted_bases(round_))]
    for sentence in (*told, not_measured(verdict, known_before(round_), kept_base(round_))):
        if sentence:
            print(f"  {sentence}")
    print(f"'medvlsm improve promote {round_.project} {round_.name}' makes it the present one.")


def _versions(options: argparse.Namespace, project: Path, _: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.history import read_history
    from napari_medvlsm.core.improve.rounds import find_rounds
    from napari_medvlsm.core.improve.versions import project_models

    for model in project_models(project):
        dice = [row["dice"] for row in model.card.metrics.get("test", {}).values() if "dice" in row]
        mean = f", Dice {sum(dice) / len(dice):.2f} on its own test scans" if dice else ""
        mark = "  present" if model.present else ""
        print(f"{called(model.name):12} {model.card.family}, {model.card.created or 'no date'}{mean}{mark}")
    for round_ in find_rounds(project):
        plan = round_.plan
        begun = f"{plan.created[:16].replace('T', ' ')} UTC by {plan.person}"
        remark = f", {plan.remark}" if plan.remark else ""
        outlines = f"{len(plan.cases)} outlines, from {called(plan.base.name)}"
        print(f"round {round_.name:6} {round_.state}: {outlines}, begun {begun}{remark}")
        if round_.failure:
            print(f"             {round_.failure}")
    for entry in read_history(project):
        print(entry.sentence)
    return OK


def _compare(options: argparse.Namespace, project: Path, rest: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.rounds import find_round

    round_ = find_round(project, *rest)
    if not round_.measured:
        raise ValueError(f"Round {round_.name} is {round_.state}; 'medvlsm improve {project} --go-on' finishes it.")
    _tell_verdict(round_)
    return OK


def _promote(options: argparse.Namespace, project: Path, rest: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.versions import promote

    entry = promote(project, rest[0], options.person, options.remark)
    print(f"The present model is now {called(entry.model)}; 'medvlsm improve rollback {project}' goes back.")
    return OK


def _roll_back(options: argparse.Namespace, project: Path, _: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.versions import roll_back

    print(f"The present model is {called(roll_back(project, options.person, options.remark).model)} again.")
    return OK


def _reject(options: argparse.Namespace, project: Path, rest: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.rounds import find_round, reject_round

    reject_round(find_round(project, rest[0]), options.person, options.remark)
    print(f"Round {rest[0]} is rejected; 'medvlsm improve delete {project} {rest[0]}' removes it.")
    return OK


def _export(options: argparse.Namespace, project: Path, rest: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.versions import export_model

    export_model(project, rest[0], Path(rest[1]))
    print(f"It is in {rest[1]}; 'medvlsm models import {rest[1]} --name NAME' installs it.")
    return OK


def _delete(options: argparse.Namespace, project: Path, rest: Sequence[str]) -> int:
    from napari_medvlsm.core.improve.versions import delete_model

    delete_model(project, rest[0])
    print(f"Round {rest[0]} and its model are deleted.")
    return OK


_Doing = Callable[[argparse.Namespace, Path, Sequence[str]], int]
# By their names: what they do, and how many words follow, the project among them.
_DOING: dict[str, tuple[_Doing, int, int]] = {
    "versions": (_versions, 1, 1),
    "compare": (_compare, 1, 2),
    "promote": (_promote, 2, 2),
    "reject": (_reject, 2, 2),
    "rollback": (_roll_back, 1, 1),
    "export": (_export, 3, 3),
    "delete": (_delete, 2, 2),
}


def _require_project(project: Path) -> None:
    from napari_medvlsm.core.projects.database import require_database

    require_database(project)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a system that knows no name of the user
        return platform.node()


def _bar(unit: str) -> Callable[[int, int], None]:
    from tqdm import tqdm

    bar = tqdm(unit=unit, disable=None, leave=False)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
