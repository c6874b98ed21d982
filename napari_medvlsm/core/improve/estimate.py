"""How long a training takes: from steps that were measured on this computer, never from a guess."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medvlsm.core.improve.rounds import Round


@dataclass(frozen=True)
class TrainingTime:
    """An estimate.

    Attributes
    ----------
    seconds : float
        For all epochs; early stopping may end it sooner.
    measured : str
        What was measured: "the run's own steps", "a short trial", "the last round".
    """

    seconds: float
    measured: str

    @property
    def sentence(self) -> str:
        """For people: "About 6 minutes, at most; ..."."""
        raise NotImplementedError


def from_rounds(rounds: list[Round], images: int) -> TrainingTime | None:
    """From the pace of the latest round that was trained on this computer; None where there is none."""
    raise NotImplementedError


def by_trial(round_: Round, seconds: float = 20.0) -> TrainingTime:
    """Train for some seconds in a folder that is removed afterwards. Raises ValueError with the run's own words."""
    raise NotImplementedError
