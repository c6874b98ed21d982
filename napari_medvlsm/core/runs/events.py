"""What a run reports while it goes on: one frozen dataclass an event, one JSON object a line.

Each line is `{"event": NAME, "time": SECONDS, ...fields}`: `NAME` is the class in lower case with underscores, `time`
seconds since 1970. Fields are only ever added. A line that a reader does not know is to be passed over.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from typing import Any

from napari_medvlsm.core.renamed_keys import with_current_keys


@dataclass(frozen=True)
class Event:
    """Anything that a run reports."""

    @classmethod
    def name(cls) -> str:
        """The `event` of its line."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).lower()

    def line(self) -> str:
        """One JSON object; NaN and infinity (divergence) become null."""
        content = {"event": self.name(), "time": round(time.time(), 3), **asdict(self)}
        return json.dumps(_without_nan(content), ensure_ascii=False, allow_nan=False)


EventSink = Callable[[Event], None]


@dataclass(frozen=True)
class Started(Event):
    """A run begins, or goes on.

    Attributes
    ----------
    recipe, run : str
        Name of the recipe, folder of the run.
    epochs, first_epoch : int
        All epochs, and the one (from 0) that comes first now.
    steps_per_epoch, train_images, val_images : int
    parameters, trained_parameters : int
    device : str
        Such as "cpu" or "cuda:0".
    processes : int
    computer : str
        Its name in the network; "" of earlier versions.
    """

    recipe: str
    run: str
    epochs: int
    first_epoch: int
    steps_per_epoch: int
    train_images: int
    val_images: int
    parameters: int
    trained_parameters: int
    device: str
    processes: int
    computer: str = ""


@dataclass(frozen=True)
class Checked(Event):
    """The data were checked. `findings` counts what was found by kind; see `core.datasets.check.KINDS`."""

    findings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Encoded(Event):
    """Activations of frozen encoders were computed and cached: `done` of `total` images (times views)."""

    done: int
    total: int


@dataclass(frozen=True)
class Step(Event):
    """An optimizer step was made: `step` of `steps` in all epochs; `images_per_second` over the last ones."""

    epoch: int
    step: int
    steps: int
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch(Event):
    """An epoch (from 0) and its validation ended.

    `train_loss`, `val_loss`, `val_dice` (over prompts whose mask holds something) and `val_false_positive_rate` (part
    of the prompts without one on which more than 1 % of the image was outlined); null where nothing was measured.
    `best` says whether this is the best validation Dice so far, `eta` how many seconds are left at this pace.
    """

    epoch: int
    epochs: int
    train_loss: float | None
    val_loss: float | None
    val_dice: float | None
    val_false_positive_rate: float | None
    best: bool
    seconds: float
    eta: float


@dataclass(frozen=True)
class Stopped(Event):
    """Training ended.

    `reason`: "finished", "early stopping", "time is up", "asked to stop", or "diverged"; `sentence` says it for people.
    `checkpoint` is the best one ("" where no epoch was completed), `val_dice` its validation Dice. After "finished" and
    "early stopping" the model is measured; asked to stop meanwhile, a run reports a second one, with "asked to stop".
    """

    reason: str
    sentence: str
    checkpoint: str
    val_dice: float | None


@dataclass(frozen=True)
class Measured(Event):
    """A row of the card: mean Dice of a set, target and kind of prompt on the test split, with its 95 % interval."""

    set: str
    target: str
    kind: str
    level: str
    cases: int
    dice: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Saved(Event):
    """A model folder with its card, and the report, are written."""

    folder: str
    report: str


@dataclass(frozen=True)
class Failed(Event):
    """Nothing more comes; `sentence` says what came, what was expected and what to do."""

    sentence: str


# Every kind of event by its name.
KINDS: dict[str, type[Event]] = {kind.name(): kind for kind in Event.__subclasses__()}


def read_line(line: str) -> Event | None:
    """The event of a line; None for one that this version does not know, and for a line that is not whole.

    Fields that are not known are ignored; those of earlier versions are read under their present names.
    """
    try:
        content = with_current_keys(json.loads(line))
        kind = KINDS.get(content.get("event", "")) if isinstance(content, dict) else None
        return None if kind is None else kind(**{f.name: content[f.name] for f in fields(kind) if f.name in content})
    except (ValueError, TypeError):
        return None


def sentence_of(event: Event) -> str:
    """An event for people; "" for what only the bar shows, or what is logged."""
    if isinstance(event, Started):
        begun = f", from epoch {event.first_epoch + 1}" if event.first_epoch else ""
        return (
            f"{event.recipe}: {event.train_images} training and {event.val_images} validation images, "
            f"{event.trained_parameters:,} of {event.parameters:,} parameters trained, on {event.device}{begun}."
        )
    if isinstance(event, Epoch):
        parts = [f"epoch {event.epoch + 1}/{event.epochs}"]
        numbers = (
            ("training loss", event.train_loss),
            ("validation loss", event.val_loss),
            ("Dice", event.val_dice),
            ("false positive rate", event.val_false_positive_rate),
        )
        parts += [f"{name} {value:.4f}" for name, value in numbers if value is not None]
        parts += [f"{event.seconds:.1f} s"] + ([f"{timedelta(seconds=round(event.eta))} left"] if event.eta else [])
        return "  ".join(parts) + ("  best so far" if event.best else "")
    if isinstance(event, Stopped):
        return event.sentence
    if isinstance(event, Saved):
        return f"The model is in {event.folder}" + (f", the report in {event.report}." if event.report else ".")
    return ""


def ignore_event(event: Event) -> None:
    """A `EventSink` that goes nowhere."""


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
