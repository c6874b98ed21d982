"""The training set that outlines are added to: remembered between sessions, with what it holds and will be given."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from psygnal import Signal

from napari_medvlsm.controllers.corrections import Corrections
from napari_medvlsm.controllers.saving import Saving
from napari_medvlsm.controllers.session import Session
from napari_medvlsm.core.datasets.case_words import CaseWords, case_words
from napari_medvlsm.core.datasets.export import count_cases
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.core.prompts import LABELS, Target

# Of the settings: the folder of the training set, and that whose words were shown and agreed to.
_FOLDER, _SHOWN = "training set", "training set words shown"
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


class TrainingSet:
    """Adds what is in view to the chosen folder.

    Parameters
    ----------
    session : Session
    corrections : Corrections
    saving : Saving
    settings : Settings
    show_next : callable
        Shows the next scan of the list.
    """

    changed = Signal()  # another folder, or other cases in it
    message = Signal(str, bool)  # a sentence, and whether it tells of a problem

    def __init__(
        self,
        session: Session,
        corrections: Corrections,
        saving: Saving,
        settings: Settings,
        show_next: Callable[[], None],
    ) -> None:
        self._session, self._corrections, self._saving = session, corrections, saving
        self._settings, self._show_next = settings, show_next
        # What was measured when it was last told, by scan and target.
        self._told: dict[tuple[str, str], dict[str, str]] = {}
        self._said = ("", False)
        saving.message.connect(self._on_saved)
        session.prompt_changed.connect(self._notice)

    @property
    def folder(self) -> Path | None:
        """The folder that was chosen last; None if there is none, or it is gone."""
        found = self._settings.folder(_FOLDER)
        return Path(found) if found else None

    @property
    def words_agreed(self) -> bool:
        """Whether the words were shown for this folder, and the person went on."""
        return self.folder is not None and self._settings.recall(_SHOWN) == str(self.folder)

    def choose(self, folder: Path) -> None:
        """Add to another folder from now on."""
        self._settings.set_folder(_FOLDER, str(folder))
        self.changed.emit()

    def agree(self) -> None:
        """Take note that the words were shown for this folder."""
        self._settings.remember(_SHOWN, str(self.folder))

    def summary(self) -> str:
        """The folder and what it holds: "set-1: 12 cases (9 training, 1 validation, 2 test)"."""
        if self.folder is None:
            return "No training set chosen yet."
        try:
            counts = count_cases(self.folder)
        except ValueError as error:
            return str(error)
        total = sum(counts.values())
        if not total:
            return f"{self.folder.name}: no cases yet"
        parts = ", ".join(f"{n} {_SPLITS.get(split, split)}" for split, n in counts.items() if n)
        return f"{self.folder.name}: {'1 case' if total == 1 else f'{total} cases'} ({parts})"

    def words(self) -> CaseWords | None:
        """What would be written of the outline in view; None if there is none."""
        found, scan = self._saving.annotation(), self._session.scan
        if found is None or scan is None or found.mask.shape != scan.size:
            return None
        said = replace(found.said, target=found.target)
        return case_words(scan, found.mask, said, self._session.vocabulary)

    def target(self, words: CaseWords) -> Target:
        """That of the words."""
        return self._session.vocabulary.target(words.said.target)

    def add(self, go_on: bool = False) -> bool:
        """Add the scan and the outline in view to the folder, with `go_on` show the next scan; whether it was added."""
        if self.folder is None:
            self.message.emit("Choose a training set first.", True)
            return False
        if not self._saving.export_to(self.folder):
            return False
        self.changed.emit()
        if go_on:
            added = self._said
            self._show_next()
            # Whatever is said about the next scan, that this one was added is what counts.
            self.message.emit(*added)
        return True

    def _on_saved(self, text: str, problem: bool) -> None:
        self._said = text, problem

    def _notice(self) -> None:
        """Say what a change of the outline changed in the words that will be written of it."""
        target = self._session.target_in_view.phrase
        measured = self._session.words_about(target)[1]
        key, now = (self._session.scan_hash, target), {name: getattr(measured, name) for name in measured.named()}
        if not now or self._corrections.current is None:
            return
        before, self._told[key] = self._told.get(key, {}), now
        changes = [
            f"{LABELS[n]}: {before[n]} → {now[n]}" for n in LABELS if n in before and n in now and before[n] != now[n]
        ]
        if not changes:
            return
        self.message.emit(f"Your outline changes the words of its training prompts: {', '.join(changes)}.", False)


def explained(words: CaseWords, target: Target) -> str:
    """The words and where each comes from, as HTML; `target` is that of the words."""
    lines = []
    for title, attributes in (("Measured from the outline", words.measured), ("Said by you", words.said)):
        values = [
            f"{LABELS.get(n, n)}: <b>{html.escape(getattr(attributes, n))}</b>"
            for n in LABELS
            if n in attributes.named()
        ]
        if title.startswith("Said") and words.said.target:
            values.insert(0, f"target: <b>{html.escape(target.name)}</b>")
        lines.append(f"<p>{title}: {', '.join(values) or 'nothing'}.</p>")
    if words.drawn:
        sentences = "; ".join(f"“{html.escape(text)}”" for text in dict.fromkeys(words.drawn.values()))
        lines.append(f"<p>Drawn at random from the vocabulary, once for this scan: {sentences}.</p>")
    prompts = "".join(
        f"<tr><td>{level.upper()}&nbsp;</td><td>{html.escape(target.shown(text)) or '<i>no words</i>'}</td></tr>"
        for level, text in words.prompts.items()
    )
    if target.spoken:
        name, phrase = html.escape(target.name), html.escape(target.phrase)
        lines.append(f"<p>Written for “{name}” is the model's word: {phrase}.</p>")
    return "".join(lines) + f"<p>So these prompts are written:</p><table>{prompts}</table>"
