"""A training run as a process of its own, for the window: start it, follow its events, stop it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from napari_medvlsm.core.exit_codes import ExitCode, exit_sentence
from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.process import ChildProcess
from napari_medvlsm.core.runs.events import Event, Failed, Stopped, read_line
from napari_medvlsm.core.runs.folder import Run

# A recipe that was given as values, as the command line reads it.
REQUEST_FILE = "request.yaml"
# Seconds in which a run may end its step after it was asked to stop.
STOP_GRACE = 30.0


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes
    ----------
    code : int
        See `core.exit_codes`.
    sentence : str
        For people.
    """

    code: int
    sentence: str

    @property
    def done(self) -> bool:
        """Whether it ended well: finished, stopped early, or its time was up."""
        return self.code == ExitCode.OK


class RunProcess:
    """A running training. One thread iterates over `events`; any may ask to stop.

    Parameters
    ----------
    run : Run
    child : ChildProcess
        That of `medvlsm_training`, with `--events`.
    """

    def __init__(self, run: Run, child: ChildProcess) -> None:
        self.run = run
        self._child = child
        self._last_words = ""

    def __enter__(self) -> RunProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process number."""
        return self._child.pid

    def events(self) -> Iterator[Event]:
        """What the run reports, as it comes, until it ends; lines of other versions are passed over."""
        for line in self._child.lines():
            event = read_line(line)
            if event is None:
                continue
            if isinstance(event, Stopped | Failed):
                self._last_words = event.sentence
            yield event

    def ask_to_stop(self) -> None:
        """Ask the run to stop after its present step, and return at once; the best checkpoint so far is kept."""
        self._child.ask_to_end()

    def stop(self, grace: float = STOP_GRACE) -> None:
        """Ask the run to stop, and end its processes where they have not after `grace` seconds."""
        self._child.stop(grace)

    def kill(self) -> None:
        """End its processes at once; what is on disk is whole."""
        self._child.kill()

    def end(self) -> RunEnd:
        """Wait for the end and say how it was; call it when `events` has come to its end.

        What the run itself said last is its sentence; where it could not say anything, its exit code and the last line
        of its log.
        """
        code = self._child.wait()
        reported = code in (ExitCode.OK, ExitCode.FAILED, ExitCode.DIVERGED, ExitCode.CRASHED) or code > 128
        if reported and self._last_words:
            return RunEnd(code, self._last_words)
        # Whoever is killed has no last words.
        last = self._child.stderr_tail().splitlines()[-1:] if code > 0 else []
        # Python's own code for an error that came before anything could report it.
        how = [] if code == ExitCode.SOME_FAILED else [exit_sentence(code)]
        return RunEnd(code, " ".join(["The training stopped unexpectedly.", *how, *last]))

    def close(self) -> None:
        """Close the pipes, which stops a run that still goes on, and make sure that it ended."""
        self._child.close(STOP_GRACE)


def start_run(
    recipe: str | Path | Mapping[str, Any],
    data: Path,
    run: Path,
    changes: Mapping[str, Any] | None = None,
    *,
    accept: Sequence[str] = (),
    minutes: float | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    measure: bool = True,
    folder: Path | None = None,
) -> RunProcess:
    """Start `medvlsm train`, or go on with what a folder holds; returns at once.

    Parameters
    ----------
    recipe : str, Path or mapping
        Name of a shipped recipe, a YAML file, or a recipe's values, which are written into the run's folder.
    data : Path
        Folder of the recipe's data sets.
    run : Path
        Folder of the run.
    changes : mapping, optional
        Values by key with dots, such as ``{"trainer.max_epochs": 5}``; they win over the recipe.
    accept : sequence of str
        Kinds of findings of the data check to go on with.
    minutes : float, optional
        Stop after this time, at the end of an epoch.
    accelerator, devices
        As of Lightning's Trainer.
    measure : bool
        Whether the best model is measured and written when training has ended.
    folder : Path, optional
        That relative paths are seen from; by default that of this process.

    Raises
    ------
    OSError
        If the process cannot be started or the recipe cannot be written.
    """
    if isinstance(recipe, Mapping):
        place = (folder or Path()) / run
        place.mkdir(parents=True, exist_ok=True)
        with replacing(place / REQUEST_FILE) as temporary:
            temporary.write_text(yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True), "utf-8")
        recipe = run / REQUEST_FILE
    arguments = ["train", str(recipe), *(word(key, value) for key, value in (changes or {}).items())]
    arguments += ["--data", str(data), "--run", str(run), "--accelerator", accelerator, "--devices", str(devices)]
    arguments += [part for kind in accept for part in ("--accept", kind)]
    arguments += [] if minutes is None else ["--minutes", str(minutes)]
    arguments += [] if measure else ["--no-measure"]
    return start_training(arguments, run, folder)


def start_training(arguments: Sequence[str], run: Path, folder: Path | None = None) -> RunProcess:
    """Start `medvlsm train` with the words of its command line, from "train" on; `run` is the folder of the run."""
    child = ChildProcess("medvlsm_training", [*arguments, "--events"], folder=folder)
    return RunProcess(Run((folder or Path()) / run), child)


def start_packaging(data: Path, run: Path, folder: Path | None = None) -> RunProcess:
    """Start `medvlsm package`, which measures and writes the best model of a run so far; parameters as `start_run`."""
    arguments = ["package", str(run), "--data", str(data), "--events"]
    return RunProcess(Run(run), ChildProcess("medvlsm_training", arguments, folder=folder))


def start_evaluation(
    model: str,
    sets: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    folder: Path | None = None,
    *,
    replay: bool = False,
) -> ChildProcess:
    """Start `medvlsm evaluate` on the test split of data set folders, with names of files in the results.

    Parameters
    ----------
    model : str
        Name or folder.
    sets : sequence of Path
    out : Path
        The folder of results; the same call goes on after an interruption.
    kinds : sequence of str
        Of prompts, as on the command line.
    folder : Path, optional
        That relative paths are seen from.
    replay : bool
        Measure it on the shipped scans that are never replayed, too (`datasets.replay`).

    Raises
    ------
    OSError
        If the process cannot be started.
    """
    arguments = ["evaluate", *map(str, sets), "--model", model, "--out", str(out), "--file-names", "--kinds", *kinds]
    arguments += ["--replay"] if replay else []
    return ChildProcess("napari_medvlsm.cli", arguments, watches_stdin=False, output=False, folder=folder)


def word(key: str, value: Any) -> str:
    """`key=value` on one line, with the value as YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return f"{key}={text.removesuffix('...' + chr(10)).strip()}"
