"""What the person works on: the scan, the model, the prompt, and the result with its threshold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from psygnal import Signal

from napari_medvlsm.controllers.engine import EngineController, EngineImage, Request
from napari_medvlsm.core.images import Scan, content_hash
from napari_medvlsm.core.io.labels import story
from napari_medvlsm.core.masks import Bytes, Cleanup, Mask, cut
from napari_medvlsm.core.models.registry import ModelEntry
from napari_medvlsm.core.prompts import Attributes, Coverage, Prompt, Vocabulary, build, coverage, free_text

HISTORY_LENGTH = 30
# Below this mean Dice on test scans the panel warns before the model is used: most outlines need redrawing.
WEAK_DICE = 0.7


@dataclass(frozen=True, eq=False)
class Result:
    """A model's answer and what was asked: scan, model and prompt as they were then."""

    scan_hash: str
    model: str
    prompt: Prompt
    target: str
    probability: Bytes

    @property
    def peak(self) -> float:
        """The highest certainty anywhere, between 0 and 1."""
        return float(self.probability.max()) / 255


class Session:
    """State of the panel, without a window.

    Parameters
    ----------
    engine : EngineController
    vocabulary : Vocabulary
    models : dict of ModelEntry by name
    """

    scan_changed = Signal()
    model_changed = Signal()
    prompt_changed = Signal()
    result_changed = Signal()
    mask_changed = Signal()
    history_changed = Signal()

    def __init__(self, engine: EngineController, vocabulary: Vocabulary, models: dict[str, ModelEntry]) -> None:
        self.engine = engine
        self.vocabulary = vocabulary
        self.models = models
        self.model: ModelEntry | None = next(iter(models.values()), None)
        self.scan: Scan | None = None
        self.scan_hash = ""
        self.attributes = Attributes()
        self.typed: str | None = None
        self.history: list[Prompt] = []
        self.result: Result | None = None
        self.threshold = self.model.card.threshold if self.model else 0.5
        self.cleanup = Cleanup()
        self._asked: dict[int, Result] = {}
        engine.answered.connect(self._on_answered)

    @property
    def prompt(self) -> Prompt:
        """The prompt as it stands: typed words win over the choices."""
        if self.typed is not None:
            return free_text(self.typed, self.vocabulary)
        return build(self.attributes, self.vocabulary)

    @property
    def target(self) -> str:
        """What is outlined: the target of the prompt, or its whole text where none is recognised."""
        prompt = self.prompt
        return prompt.attributes.target or prompt.text or "everything"

    def set_scan(self, scan: Scan | None) -> None:
        """Work on another scan (or none); it is encoded in the background."""
        key = content_hash(scan.pixels) if scan is not None else ""
        changed = key != self.scan_hash
        self.scan, self.scan_hash = scan, key
        if changed:
            self.result = None
            self._prepare()
        self.scan_changed.emit()
        if changed:
            self.result_changed.emit()

    def set_model(self, name: str) -> None:
        """Use another model; its own threshold becomes the current one."""
        if name not in self.models:
            raise ValueError(f"There is no model {name!r}.")
        self.model = self.models[name]
        self.threshold = self.model.card.threshold
        self._prepare()
        self.model_changed.emit()
        self.prompt_changed.emit()
        self.mask_changed.emit()

    def choose(self, **words: str) -> None:
        """Pick attributes; this takes back a typed prompt."""
        self.attributes = replace(self.attributes, **words)
        self.typed = None
        self.prompt_changed.emit()

    def type(self, text: str | None) -> None:
        """Type a prompt, or take the typing back with None."""
        self.typed = text
        self.prompt_changed.emit()

    def use(self, prompt: Prompt) -> None:
        """Take a prompt from the history."""
        if prompt.level == "free":
            self.typed = prompt.text
        else:
            self.attributes, self.typed = prompt.attributes, None
        self.prompt_changed.emit()

    def coverage(self) -> Coverage:
        """How far the prompt lies within what the model was trained on."""
        if self.model is None or self.model.card.open_vocabulary:
            return Coverage((), (), True)
        return coverage(self.prompt.text, self.model.card.phrases, self.model.card.words)

    def weak_dice(self) -> float | None:
        """The model's test Dice for the target of the prompt, if it is too low to rely on."""
        value = self.model.card.test_dice(self.target) if self.model is not None else None
        return value if value is not None and value < WEAK_DICE else None

    def segment(self) -> Request:
        """Ask the engine about the current scan, model and prompt.

        Raises
        ------
        ValueError
            With one sentence, if something is missing.
        """
        if self.scan is None:
            raise ValueError("Choose or open a scan first.")
        if self.model is None:
            raise ValueError("No model was found; install the package again.")
        prompt = self.prompt
        if not prompt.text and self.typed is not None:
            raise ValueError("The prompt is empty: type what to outline, or choose it from the list.")
        if not prompt.text:
            raise ValueError("Choose what to outline, or type it.")
        asked = Result(self.scan_hash, self.model.name, prompt, self.target, np.empty((0, 0), np.uint8))
        image = EngineImage(self.scan_hash, self.scan.pixels)
        request = self.engine.segment(self.model.folder, image, [prompt.text])
        self._asked = {request.number: asked}
        self.history = [prompt, *(p for p in self.history if p.text != prompt.text)][:HISTORY_LENGTH]
        self.history_changed.emit()
        return request

    def set_threshold(self, threshold: float) -> None:
        """Cut the result at another certainty (0 to 1); nothing is computed again."""
        self.threshold = min(1.0, max(0.0, threshold))
        self.mask_changed.emit()

    def set_cleanup(self, cleanup: Cleanup) -> None:
        """Change the clean-up after the threshold."""
        self.cleanup = cleanup
        self.mask_changed.emit()

    def mask(self, clean: bool = True) -> Mask | None:
        """The mask of the result at the current threshold, with or without clean-up; None without a result."""
        if self.result is None:
            return None
        mask = cut(self.result.probability, self.threshold)
        return self.cleanup.apply(mask) if clean and not self.cleanup.nothing else mask

    def story(self, corrected: bool) -> dict[str, object]:
        """How the current mask was made, for the file it is saved in."""
        result = self.result
        return story(
            result.prompt if result else None,
            result.model if result else "",
            self.threshold if result else None,
            self.cleanup if result else None,
            corrected,
            self.scan_hash,
        )

    def _prepare(self) -> None:
        if self.scan is not None and self.model is not None:
            self.engine.prepare(self.model.folder, EngineImage(self.scan_hash, self.scan.pixels))

    def _on_answered(self, request: Request, maps: list[Bytes]) -> None:
        asked = self._asked.pop(request.number, None)
        if asked is None or asked.scan_hash != self.scan_hash:
            return  # the person has moved on to another scan
        self.result = replace(asked, probability=maps[0])
        self.result_changed.emit()
