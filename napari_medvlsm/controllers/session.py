"""What the person works on: the scan, the model, the prompts, and the results with their thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from napari_medvlsm.controllers.engine import EngineController, EngineImage, Request
from napari_medvlsm.controllers.familiarity import Familiarity, familiarity
from napari_medvlsm.controllers.said import Said, by_origin, checked, listed, target_of
from napari_medvlsm.controllers.scan_work import Result, ScanWork, ScanWorks
from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation
from napari_medvlsm.core.describe import Contradiction, Description, contradictions
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.io.prompt_history import PromptHistory
from napari_medvlsm.core.masks import Bytes, Cleanup, Mask, MaskSettings
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.prompts import Attributes, Parsed, Prompt, Target, Vocabulary


class Session:
    """State of the panel, without a window.

    Parameters
    ----------
    engine : EngineController
    vocabulary : Vocabulary
    models : dict of ModelEntry by name
    view : ViewState
        The scan and slice that is worked on.
    history : PromptHistory, optional
        Earlier prompts and favourites.
    """

    scan_changed = Signal()
    model_changed = Signal()
    models_changed = Signal()  # others can be chosen
    vocabulary_changed = Signal()
    prompt_changed = Signal()
    queue_changed = Signal()
    result_changed = Signal()  # another result is shown, there are new ones, or another slice is in view
    segmented = Signal()  # the engine has answered `segment`
    interrupted = Signal()  # another scan came into view while the engine was asked about this one
    mask_changed = Signal()
    history_changed = Signal()
    failed = Signal(str)  # one sentence for the user

    def __init__(
        self,
        engine: EngineController,
        vocabulary: Vocabulary,
        models: dict[str, ModelEntry],
        view: ViewState,
        history: PromptHistory | None = None,
    ) -> None:
        self.engine, self.view = engine, view
        self.vocabulary, self.models = vocabulary, models
        self._installed, self._of_project = models, dict[str, ModelEntry]()
        self.history = history or PromptHistory()
        self.model: ModelEntry | None = next(iter(models.values()), None)
        self._said = Said()
        # What the scan in view began with: said of the scan before.
        self._carried = Said()
        self.queue: list[Prompt] = []
        self._work = ScanWork()
        self._works = ScanWorks()
        # Threshold and clean-up that a person set last, by model and target: another model has other probabilities.
        self._last_settings: dict[tuple[str, str], MaskSettings] = {}
        self._pending: tuple[int, Callable[[list[Bytes]], None]] | None = None
        # Whether what is pending is what the person asked for, and no comparison.
        self._outlining = False
        self._seen_hash = ""
        view.changed.connect(self._on_view)
        engine.answered.connect(self._on_answered)

    # The prompt ---------------------------------------------------------------------------------------------------

    @property
    def attributes(self) -> Attributes:
        """The choices."""
        return self._said.attributes

    @property
    def measured(self) -> frozenset[str]:
        """Names of the attributes that were read from the person's outline of this scan."""
        return self._said.measured

    @property
    def level(self) -> str | None:
        """The level to which the prompt is cut."""
        return self._said.level

    @property
    def typed(self) -> str | None:
        """Typed words, which win over the choices."""
        return self._said.typed

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompt as it stands; of typed words that name several targets, one for each."""
        return self._said.prompts(self.vocabulary, self.model.card if self.model is not None else None)

    @property
    def prompt(self) -> Prompt:
        """The prompt as it stands, the first of several."""
        return self.prompts[0]

    @property
    def parsed(self) -> Parsed:
        """What the typed words say, of several targets those about the first; nothing if none are typed."""
        return self._said.parsed(self.vocabulary)

    @property
    def said(self) -> Attributes:
        """All that is chosen, or what the typed words say."""
        return self.attributes if self.typed is None else self.parsed.attributes

    @property
    def target(self) -> str:
        """What is outlined: the target of the prompt, or its whole text where none is recognised."""
        return target_of(self.prompt)

    @property
    def target_in_view(self) -> Target:
        """What corrections are of: the target of the prompt or, if the prompt is empty, of the result that is shown."""
        asked = self.result.target if self.result is not None and not self.prompt.text else self.target
        return self.vocabulary.target(asked)

    def words_about(self, target: str) -> tuple[Attributes, Attributes]:
        """What the person said of a target, and what was read from a mask of it."""
        if self.target == target:
            return by_origin(self.said, self.measured if self.typed is None else frozenset(), target)
        prompt = self.results[target].prompt if target in self.results else Prompt("", "p0")
        return by_origin(prompt.attributes, frozenset(prompt.measured), target)

    def look_at(self, target: str) -> None:
        """Turn to a target of this scan, with what was said of it."""
        if target == self.target and self.prompt.text:
            self._prompt_changed()
            return
        self._remember_said()
        said = self._work.said_about(target) or Said.about(target, self.vocabulary)
        self._say(said.fitting(self.vocabulary))

    def recall(self, outline: Annotation) -> None:
        """Take up what was said of the target of a stored outline of this scan; what is said here already stays.

        What goes on from the scan before was not said here.
        """
        target, said = outline.target, Said.of_outline(outline).fitting(self.vocabulary)
        if target not in self.vocabulary.targets or said.attributes.named() == {"target"}:
            return
        if self.target != target:
            self._work.said_of.setdefault(target, said)
        elif len(self.prompts) == 1 and self._said in (self._carried, Said.about(target, self.vocabulary)):
            self._say(said)

    def choose(self, **words: str) -> None:
        """Pick attributes; typed words give way to what they say. A target asked for before comes with its words."""
        if list(words) == ["target"] and words["target"] in self.results and words["target"] != self.target:
            self.look_at(words["target"])
            return
        if "target" in words:
            self._remember_said()
        self._list_others()
        self._say(self._said.chosen(words, self.vocabulary))

    def set_level(self, level: str | None) -> None:
        """Say no more than a level ("p1" to "p9") does, or with None all that is chosen.

        A typed prompt gives way to what it says. Raises as `Said.at_level`.
        """
        said = self._said.at_level(level, self.vocabulary)
        self._list_others()
        self._say(said)

    def type(self, text: str | None) -> None:
        """Type a prompt, or take the typing back with None."""
        self._say(replace(self._said, typed=text))

    def use(self, prompt: Prompt) -> None:
        """Take a prompt from the history or from a comparison."""
        self._say(replace(self._said, typed=prompt.text) if prompt.level == "free" else Said.in_prompt(prompt))

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Use other words from now on."""
        self.vocabulary = vocabulary
        self._said = self._said.fitting(vocabulary)
        self.vocabulary_changed.emit()
        self._prompt_changed()

    def enqueue(self) -> None:
        """Put the prompt on the list of what is outlined in one go, in the place of one for its target; as `asked`."""
        self.queue = listed(self.queue, self._checked())
        self.queue_changed.emit()

    def dequeue(self, index: int | None = None) -> None:
        """Take one prompt off the list, or with None all."""
        self.queue = [] if index is None else [p for i, p in enumerate(self.queue) if i != index]
        self.queue_changed.emit()

    def familiarity(self) -> Familiarity:
        """What the model knows of the prompt."""
        card = self.model.card if self.model is not None else None
        return familiarity(self.prompts, self.vocabulary, card, self._work.modality(self.vocabulary))

    def take_nearest(self, phrase: str) -> None:
        """Ask for a target that the model knows in the place of the first that it does not."""
        self._say(self._said.with_target(self.familiarity().place, phrase, self.vocabulary))

    # What an outline says ------------------------------------------------------------------------------------------

    def measure(self, seen: Description | None) -> None:
        """Fill in from the person's outline what is not said, or take that back with None; what is said stays."""
        self._say(self._said.filled(seen, self.vocabulary))

    def contradictions(self, seen: Description) -> tuple[Contradiction, ...]:
        """Where what the person said disagrees with an outline."""
        return contradictions(self.words_about(self.target)[0], seen)

    # The scan and the model ----------------------------------------------------------------------------------------

    @property
    def scan(self) -> Scan | None:
        """The pixels in view."""
        return self.view.scan

    @property
    def scan_hash(self) -> str:
        """Names the pixels in view; "" without a scan."""
        return self.view.scan_hash

    def set_models(self, models: dict[str, ModelEntry]) -> None:
        """Offer other installed models; one that is gone gives way to the first."""
        self._installed = models
        self._offer_models()

    def set_project_models(self, models: dict[str, ModelEntry]) -> None:
        """Offer the models of a project beside the installed ones."""
        if {n: m.folder for n, m in models.items()} != {n: m.folder for n, m in self._of_project.items()}:
            self._of_project = models
            self._offer_models()

    def _offer_models(self) -> None:
        self.models = self._installed | self._of_project
        if self.model is None or self.model.name not in self.models:
            first = next(iter(self.models), None)
            if first is not None:
                self.set_model(first)
        self.models_changed.emit()

    def set_model(self, name: str) -> None:
        """Use another model from now on; answers of the one before stay as they are."""
        if name not in self.models:
            raise ValueError(f"There is no model {name!r}.")
        self.model = self.models[name]
        self.prepare()
        self.model_changed.emit()
        self.prompt_changed.emit()
        self.mask_changed.emit()

    def prepare_ahead(self, scan_hash: str, pixels: npt.NDArray[np.generic]) -> None:
        """Let the model in use encode a scan that comes into view later, while it has nothing else to do."""
        if self.model is not None:
            self.engine.prepare_ahead(self.model.folder, EngineImage(scan_hash, pixels))

    def segment(self, options: SegmentOptions = WHOLE_SCAN) -> Request:
        """Ask the engine about the scan: the prompts on the list, or the prompt as it stands if there are none.

        Parameters
        ----------
        options : SegmentOptions
            Where the model looks.

        Raises
        ------
        ValueError
            If there is no scan, no model or no prompt; the sentence says what to do.
        """
        # The pixels may have been changed in place, of which nobody is told.
        self.view.settle(other_pixels=True)
        scan, model = self._ready()
        prompts = self.asked()
        empty, words = np.empty((0, 0), np.uint8), self.vocabulary.digest
        asked = [Result(self.scan_hash, model, p, target_of(p), empty, options, words) for p in prompts]
        image = EngineImage(self.scan_hash, scan.pixels)
        request = self.engine.segment(model.folder, image, [p.text for p in prompts], options=options)
        number = request.number
        self._outlining = True
        self._pending = (number, lambda maps: self._take(asked, number, maps))
        try:
            self.history.add(*prompts)
        except (OSError, ValueError) as error:
            self.failed.emit(f"The prompt could not be remembered ({error}).")
        self.history_changed.emit()
        return request

    def asked(self) -> list[Prompt]:
        """What `segment` asks: the list, and the prompt as it stands in the place of an older one. Raises if empty."""
        if self.queue and not self.prompt.text:
            return list(self.queue)
        return listed(self.queue, self._checked())

    def compare(self, texts: list[str], size: tuple[int, int], done: Callable[[list[Bytes]], None]) -> Request:
        """Ask the engine for other wordings at a small size (rows, cols); `done` gets the probability maps.

        Nothing else changes; a later request takes its place. Raises as `segment`, the prompt aside.
        """
        model = self._ready()[1]
        if self.result is not None:
            # Whose words are compared, whatever model was picked since.
            model = self.result.model
        # Tiles are answered at full size only; a comparison sees what lies in the same rectangle, or the whole scan.
        where = SegmentOptions(region=self.result.options.region) if self.result is not None else WHOLE_SCAN
        return self.ask(model.folder, texts, size, done, where)

    def ask(
        self,
        model: Path,
        texts: list[str],
        size: tuple[int, int],
        done: Callable[[list[Bytes]], None],
        where: SegmentOptions = WHOLE_SCAN,
    ) -> Request:
        """As `compare`, of the model in a folder, whichever is chosen; `prepare` returns to the chosen one."""
        image = EngineImage(self.scan_hash, self._ready()[0].pixels)
        request = self.engine.segment(model, image, texts, size, where)
        self._outlining, self._pending = False, (request.number, done)
        return request

    # The results ---------------------------------------------------------------------------------------------------

    @property
    def results(self) -> dict[str, Result]:
        """Those of the scan in view, by target."""
        return self._work.results

    @property
    def result(self) -> Result | None:
        """The result that is shown."""
        return self._work.result

    @property
    def threshold(self) -> float:
        """Of the result that is shown, or else of the target of the prompt."""
        return self._settings().threshold

    def threshold_of(self, target: str) -> float:
        """Of the result of a target or, without one, of the result that is shown."""
        return self._settings(self.results.get(target)).threshold

    @property
    def cleanup(self) -> Cleanup:
        """Of the result that is shown, or else of the target of the prompt."""
        return self._settings().cleanup

    def set_threshold(self, threshold: float) -> None:
        """Binarize the result at another threshold (0 to 1); nothing is predicted again."""
        self._set_settings(replace(self._settings(), threshold=min(1.0, max(0.0, threshold))))

    def set_cleanup(self, cleanup: Cleanup) -> None:
        """Change the clean-up after the threshold."""
        self._set_settings(replace(self._settings(), cleanup=cleanup))

    @property
    def together(self) -> frozenset[str]:
        """The targets that were asked for at once with the one that is shown, itself included."""
        return self._work.together

    def mask(self, clean: bool = True, target: str | None = None) -> Mask | None:
        """The mask of a result, by default the one shown, at its threshold, cleaned up or not; None without one."""
        result = self.result if target is None else self.results.get(target)
        if result is None:
            return None
        settings = self._settings(result)
        return self._work.mask(result, settings) if clean else result.mask(settings, clean)

    def show_anyway(self) -> None:
        """Outline the result that is shown although the scan probably does not show what was asked for."""
        if self.result is not None:
            self.results[self.result.target] = replace(self.result, anyway=True)
            self.result_changed.emit()

    def take_up(self, annotation: Annotation) -> bool:
        """Show a model's earlier outline of the scan in view; False if the model is gone, or there is a result."""
        made, target = annotation.provenance, annotation.target
        model = next((m for m in self.models.values() if made.model in (m.name, m.card.name)), None)
        if model is None or made.prompt is None or target in self.results or made.scan_hash != self.scan_hash:
            return False
        self._work.take_up(annotation, made.prompt, model)
        if self._work.result is None or target == self.target:
            self._work.shown = target
        self.result_changed.emit()
        return True

    def predicted(self, target: str) -> Annotation | None:
        """The model's mask of a target, at its threshold and cleaned up, as an annotation; None without a result."""
        result, mask, scan = self.results.get(target), self.mask(target=target), self.scan
        if result is None or mask is None or scan is None:
            return None
        said, measured = self.words_about(target)
        provenance = result.provenance(scan, self._settings(result))
        return Annotation(target, mask, said=said, measured=measured, provenance=provenance)

    # Within --------------------------------------------------------------------------------------------------------

    def _ready(self) -> tuple[Scan, ModelEntry]:
        if self.scan is None:
            raise ValueError(self.view.problem or "Choose or open a scan first.")
        if self.model is None:
            raise ValueError("No model was found; install the package again.")
        return self.scan, self.model

    def _checked(self) -> tuple[Prompt, ...]:
        return checked(self.prompts, self.vocabulary, typed=self.typed is not None)

    def _list_others(self) -> None:
        """Put on the list what is typed about all targets but the first, before the choices take its place."""
        if len(self.prompts) > 1:
            self.queue = listed(self.queue, self.prompts[1:])
            self.queue_changed.emit()

    def _say(self, said: Said) -> None:
        self._said = said
        self._prompt_changed()

    def _prompt_changed(self) -> None:
        show = self.target in self.results and self.target != self._work.shown
        if show:
            self._work.shown = self.target
        self.prompt_changed.emit()
        if show:
            self.result_changed.emit()

    def _settings_key(self, result: Result | None) -> tuple[str, str]:
        if result is not None:
            return result.model.name, result.target
        return self.model.name if self.model else "", self.target

    def _settings(self, result: Result | None = None) -> MaskSettings:
        """Of a result, by default the one shown, or else of the model and the target of the prompt."""
        result = result or self.result
        model, key = result.model if result is not None else self.model, self._settings_key(result)
        found = self._work.settings.get(key) or self._last_settings.get(key)
        return found or MaskSettings(model.card.threshold if model else 0.5)

    def _set_settings(self, settings: MaskSettings) -> None:
        key = self._settings_key(self.result)
        self._work.settings[key] = self._last_settings[key] = settings
        self.mask_changed.emit()

    # One scan after the other --------------------------------------------------------------------------------------

    def _on_view(self) -> None:
        """Another slice is in view: the work on it comes back, and it is encoded in the background."""
        if self.scan_hash != self._seen_hash:
            self._leave()
            self._seen_hash = self.scan_hash
            self._enter()
            self.prepare()
        self.scan_changed.emit()
        self.result_changed.emit()

    def _leave(self) -> None:
        """Keep the work on the scan that was in view, and ask nothing about it any more."""
        asked, self._pending, self._outlining = self._outlining, None, False
        if asked and self.engine.cancel():
            self.interrupted.emit()
        if self._seen_hash:
            self._work.said = self._said
            self._works.keep(self._seen_hash, self._work)

    def _enter(self) -> None:
        """Take up the work on the scan in view, or begin it with what is not of the patient before."""
        before = self._said
        self._carried = before.of_the_next_scan()
        self._work = self._works.find(self.scan_hash) or ScanWork(self._carried)
        self._said = self._work.said.fitting(self.vocabulary)
        if self._said != before:
            self._prompt_changed()

    def _remember_said(self) -> None:
        self._work.said_of |= self._said.by_target(self.prompts, self.vocabulary)

    # The engine ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Let the engine load the chosen model and encode the scan in view, ahead of the next prompt."""
        if self.scan is not None and self.model is not None:
            self.engine.prepare(self.model.folder, EngineImage(self.scan_hash, self.scan.pixels))

    def _on_answered(self, request: Request, maps: list[Bytes]) -> None:
        # A request for another scan, or one that a later request took the place of, has no handler any more.
        if self._pending is not None and self._pending[0] == request.number:
            handler, self._pending, self._outlining = self._pending[1], None, False
            handler(maps)

    def _take(self, asked: list[Result], request: int, maps: list[Bytes]) -> None:
        # The engine says which weights it holds before it answers.
        weights = self.engine.weights_hash
        for question, found in zip(asked, maps, strict=True):
            answer = replace(question, probability=found, weights_hash=weights, request=request)
            # Those of this scan from now on: another scan may get others.
            self._work.settings[self._settings_key(answer)] = self._settings(answer)
            self.results[answer.target] = answer
        self._work.shown = self.target if self.target in self.results else asked[0].target
        self.result_changed.emit()
        self.segmented.emit()
