"""`medvlsm train` and `medvlsm package`, which are `python -m medvlsm_training train` and `package` too."""

from __future__ import annotations

import argparse
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from medvlsm_training.reporting import for_people, json_on_stdout
from medvlsm_training.stopping import Interrupted, StopRequests
from napari_medvlsm.core.exit_codes import ExitCode
from napari_medvlsm.core.io.disk_errors import is_full, reason, sentence
from napari_medvlsm.core.runs.events import EventSink, Failed, Stopped, ignore_event
from napari_medvlsm.core.runs.folder import LOCK_FILE, MODEL_FOLDER, RECIPE_FILE
from napari_medvlsm.core.runs.log import EventRecorder

if TYPE_CHECKING:
    from medvlsm_training.config import Recipe

# Whoever looks whether a run goes on holds its lock for a moment.
_LOCK_SECONDS = 2.0


class Parser(argparse.ArgumentParser):
    """Lets a recipe and its changes follow options, where argparse would call them unrecognised."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of argparse."""
        found, left = super().parse_known_args(args, namespace)
        if hasattr(found, "changes"):
            words = [word for word in left if not word.startswith("-")]
            if found.recipe is None and words:
                found.recipe = words.pop(0)
            found.changes += words
            left = [word for word in left if word.startswith("-")]
        return found, left


def add_to(commands: Any) -> None:
    """Add both commands to the subparsers of a `Parser`."""
    trainer = commands.add_parser(
        "train",
        help="finetune a model by a recipe",
        description="Train a recipe; the same command goes on after an interruption. Without a recipe: list them; "
        "without --data: show the recipe.",
    )
    trainer.add_argument("recipe", nargs="?", help="name of a shipped recipe, or a YAML file")
    trainer.add_argument("changes", nargs="*", metavar="key=value", help="such as trainer.max_epochs=5 or model=cris")
    trainer.add_argument("--data", type=Path, help="folder with the recipe's data sets")
    trainer.add_argument(
        "--run",
        type=Path,
        help="folder for checkpoints, curves, model and report (default: runs/RECIPE-DATA in the current folder)",
        dest="folder",
    )
    trainer.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="KIND",
        help="a kind of finding of the data check to go on with; may be given again",
    )
    trainer.add_argument("--minutes", type=float, help="stop after this time, at the end of an epoch")
    trainer.add_argument("--accelerator", default="auto", help="cpu, gpu, mps or auto (default: %(default)s)")
    # Set by torchrun.
    local, world = (int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    nodes = world // local if "LOCAL_WORLD_SIZE" in os.environ else 1
    trainer.add_argument("--devices", type=int, default=local, help="of each machine (default: %(default)s)")
    trainer.add_argument("--nodes", type=int, default=nodes, help="machines (default: %(default)s)")
    trainer.add_argument("--events", action="store_true", help="report every event as a line of JSON on stdout")
    trainer.add_argument("--no-measure", action="store_true", help="only train; `package` measures later")
    trainer.set_defaults(run=_train)

    packager = commands.add_parser("package", help="measure a run's best model and write its model folder")
    packager.add_argument("folder", type=Path, help="folder of the run")
    packager.add_argument("--data", type=Path, required=True, help="folder with the recipe's data sets")
    packager.add_argument("--out", type=Path, help="model folder to write (default: `model` in the run's folder)")
    packager.add_argument(
        "--changed-data", action="store_true", help="go on with data that have changed since the training"
    )
    packager.add_argument("--events", action="store_true", help="report every event as a line of JSON on stdout")
    packager.set_defaults(run=_package)


def _train(options: argparse.Namespace) -> int:
    from medvlsm_training.recipes import dumped, listing, load_recipe

    if options.recipe is None and options.data is None and options.folder is None:
        print(listing())
        return ExitCode.OK
    if options.recipe is None:
        raise ValueError("Training needs a recipe; `medvlsm train` alone lists them.")
    if options.data is None and options.folder is None:
        print(dumped(load_recipe(options.recipe, options.changes)), end="")
        return ExitCode.OK
    if options.data is None:
        raise ValueError("Training needs --data, the folder of the recipe's data sets.")
    if options.folder is None:
        recipe_name = load_recipe(options.recipe, options.changes).name
        options.folder = Path("runs") / f"{recipe_name}-{options.data.resolve().name}"

    def work(report: EventRecorder, requests: StopRequests) -> int:
        from medvlsm_training.train import train
        from medvlsm_training.trainer import Machine

        recipe = load_recipe(options.recipe, options.changes)
        recipe = replace(recipe, accept=(*recipe.accept, *options.accept))
        machine = Machine(options.accelerator, options.devices, options.nodes)
        logging.getLogger(__name__).info("The run is kept in %s.", options.folder)
        with _no_room_in_words(options.folder), _alone_in(options.folder, report):
            stopped = train(recipe, options.data, options.folder, options.minutes, machine, report, requests=requests)
            if stopped.reason == "diverged":
                return ExitCode.DIVERGED
            done = stopped.reason in ("finished", "early stopping") and not requests.signal
            if done and not options.no_measure and not _rank():
                _write_model(recipe, options.data, options.folder, options.folder / MODEL_FOLDER, report)
        return requests.exit_code

    return _reporting(options, work)


def _package(options: argparse.Namespace) -> int:
    from medvlsm_training.recipes import load_recipe

    def work(report: EventRecorder, requests: StopRequests) -> int:
        from medvlsm_training.package import package

        if not (options.folder / RECIPE_FILE).is_file():
            raise ValueError(f"{options.folder} holds no run; name the folder that `medvlsm train` wrote.")
        recipe = load_recipe(options.folder / RECIPE_FILE)
        out = options.out or options.folder / MODEL_FOLDER
        with _no_room_in_words(options.folder), _alone_in(options.folder, report):
            package(recipe, options.data, options.folder, out, report, options.changed_data)
        return ExitCode.OK

    return _reporting(options, work)


def _write_model(recipe: Recipe, data: Path, run: Path, out: Path, report: EventSink) -> None:
    from medvlsm_training.package import package

    package(recipe, data, run, out, report)


@contextmanager
def _no_room_in_words(folder: Path) -> Iterator[None]:
    """A full disk or memory ends a command with a sentence, from whichever library the error comes."""
    try:
        yield
    except Exception as error:
        from napari_medvlsm.core.devices import out_of_memory

        if out_of_memory(error):
            raise ValueError(
                "The memory of this computer does not suffice; lower trainer.batch_size (and raise trainer.accumulate "
                "by as much) or model.image_size, or close other programs."
            ) from error
        if not is_full(error):
            raise
        why = reason(error)
        raise ValueError(
            f"{why[0].upper()}{why[1:]}, while {folder} was being written. Make room, then give the same command "
            "again: it goes on after the last epoch that is there whole."
        ) from error


@contextmanager
def _alone_in(run: Path, report: EventRecorder) -> Iterator[None]:
    """Keep a second run out of a folder, remove what a killed one left of a checkpoint, and record the events there."""
    if _rank():
        yield
        return
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / LOCK_FILE, timeout=_LOCK_SECONDS):
            for left in run.glob(".*-*.ckpt"):
                left.unlink()
            report.record_in(run)
            yield
    except Timeout as error:
        raise ValueError(f"{run} is in use by another run; wait for its end, or choose another folder.") from error


def _reporting(options: argparse.Namespace, work: Callable[[EventRecorder, StopRequests], int]) -> int:
    """Run with events for a program or sentences for people; return the exit code.

    Of several processes only the first one reports and watches stdin. The others end with code 0 when
    all stop together: Lightning kills the first one where another fails.
    """
    first = not _rank()
    requests = StopRequests()
    try:
        with ExitStack() as stack:
            stack.enter_context(requests.listening(stdin=options.events and first))
            output = json_on_stdout if options.events or not first else for_people
            report = EventRecorder(stack.enter_context(output(requests.request)))
            if not first:
                report = EventRecorder(ignore_event)
                stack.enter_context(requests.deferred())
            _set_log_levels(options.events or not first)
            code = _reported(work, report, requests)
            return code if first or code == ExitCode.CRASHED else ExitCode.OK
    except Interrupted:
        return requests.exit_code


def _reported(work: Callable[[EventRecorder, StopRequests], int], report: EventRecorder, requests: StopRequests) -> int:
    """Do the work; what ends it is the last event."""
    try:
        return work(report, requests)
    except Interrupted:
        report(Stopped("asked to stop", "Stopped when asked to. The same command goes on.", "", None))
        return requests.exit_code
    except (ValueError, OSError) as error:
        with suppress(OSError):  # its disk may be full, too
            report(Failed(sentence(error)))
        raise
    except Exception as error:
        report(Failed(f"{type(error).__name__}: {error}"))
        traceback.print_exc()
        return ExitCode.CRASHED


def _set_log_levels(events: bool) -> None:
    """Log this package and warnings, on stderr; of Lightning only warnings."""
    import lightning.pytorch  # noqa: F401  (sets its level when imported)

    logging.basicConfig(level=logging.WARNING if events else logging.INFO, format="%(message)s")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _rank() -> int:
    """Of this process among several, however they were started."""
    # As Lightning does, but without importing it: signals are not handled during the seconds that takes.
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
