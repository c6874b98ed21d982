"""The status line: one sentence at a time, and a problem only as long as its cause lasts."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal


@dataclass(frozen=True)
class Sentence:
    """What the status line says.

    Attributes
    ----------
    text : str
    problem : bool
        Whether something is wrong; such a sentence stays until something is done.
    passing : bool
        Whether it tells of what is going on, and goes with it.
    cause : str
        What must change for a problem to be over, a name of the caller's; "" for one that only another sentence ends.
    """

    text: str = ""
    problem: bool = False
    passing: bool = False
    cause: str = ""


class Status:
    """Decides which sentence is shown."""

    changed = Signal(Sentence)

    def __init__(self) -> None:
        self.now = Sentence()

    def say(self, text: str, problem: bool = False, *, passing: bool = False, cause: str = "") -> None:
        """Say a sentence; one about what is going on never hides what happened or a problem."""
        if passing and self.now.text and not self.now.passing:
            return
        self.now = Sentence(text, problem, passing, cause)
        self.changed.emit(self.now)

    def over(self, cause: str) -> None:
        """Take a problem away whose cause is over."""
        if self.now.problem and self.now.cause == cause:
            self.say("")

    def passed(self, text: str = "") -> None:
        """What was going on is over: say what there is now, in the place of that."""
        if self.now.passing:
            self.say(text)
