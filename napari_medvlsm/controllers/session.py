"""What the person works on: the scan, the model, the prompts, and the results with their thresholds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from psygnal import Signal

from napari_medvlsm.controllers.engine import EngineController, EngineImage, Request
from napari_medvlsm.controllers.scan_work import Result, Said, ScanWork, ScanWorks
from napari_medvlsm.controllers.view_state import ViewState
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.describe import Contradiction, Description, contradictions
from napari_medvlsm.core.images import Scan
from napari_medvlsm.core.improve.versions import read_trained
from napari_medvlsm.core.io.prompt_history import PromptHistory
from napari_medvlsm.core.masks import Bytes, Cleanup, Mask, MaskSettings
from napari_medvlsm.core.models.store.registry import ModelEntry
from napari_medvlsm.core.options import WHOLE_SCAN, SegmentOptions
from napari_medvlsm.core.prompts import (
    Attributes,
    Coverage,
    Parsed,
    Prompt,
    Target,
    Vocabulary,
    build,
    coverage,
    parse,
)
from napari_medvlsm.core.prompts.build import fitting
from napari_medvlsm.core.prompts.variants import filled

# Below this mean Dice on test scans the panel warns before the model is used: most outlines need redrawing.
WEAK_DICE = 0.7
# Of one patient: they never go on to the next scan.
_OF_THE_PATIENT = frozenset({"sex", "age", "quality", "findings", "tumor_type"})
_log = logging.getLogger(__name__)
_OF_THE_SCAN = frozenset({"view", "cycle", "sex", "age", "quality", "findings"})


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
        self.engine = engine
        self.vocabulary = vocabulary
        self.models = models
        self._installed, self._of_project = models, dict[str, ModelEntry]()
        self.view = view
        self.history = history or PromptHistory()
        self.model: ModelEntry | None = next(iter(models.values()), None)
        self.attributes = Attributes()
        # Names of the attributes that were read from the person's outline of this scan.
        self.measured: frozenset[str] = frozenset()
        self.level: str | None = None
        self.typed: str | None = None
        self.queue: list[Prompt] = []
        self.results: dict[str, Result] = {}
        self._shown = ""
        # By target, the last mask with the result and the settings that it was made with.
        self._masks: dict[str, tuple[Result, MaskSettings, Mask]] = {}
        self._works = ScanWorks()
        # What was said of the targets of this scan that were turned away from.
        self._said_of: dict[str, Said] = {}
        # Threshold and clean-up, by model and target: another model has other probabilities. Those of this scan, and
        # those that a person set last, with which other scans begin.
        self._scan_settings: dict[tuple[str, str], MaskSettings] = {}
        self._mask_settings: dict[tuple[str, str], MaskSettings] = {}
        self._pending: tuple[int, Callable[[list[Bytes]], None]] | None = None
        # Whether what is pending is what the person asked for, and no comparison.
        self._outlining = False
        self._parsed: tuple[str, Parsed] | None = None
        self._seen_hash = ""
        # By model folder, the scans that it was trained on.
        self._trained: dict[Path, frozenset[str]] = {}
        view.changed.connect(self._on_view)
        engine.answered.connect(self._on_answered)

    # The prompt ---------------------------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        """The prompt as it stands: typed words win over the choices."""
        if self.typed is not None:
            text = " ".join(self.typed.split())
            return Prompt(text, "free", self.parsed.attributes, self.vocabulary.version)
        prompt = build(self.attributes, self.vocabulary, self.level)
        return replace(prompt, measured=tuple(sorted(self.measured & prompt.attributes.named())))

    @property
    def parsed(self) -> Parsed:
        """What the typed words say; nothing if none are typed."""
        text = self.typed or ""
        if self._parsed is None or self._parsed[0] != text:
            self._parsed = (text, parse(text, self.vocabulary))
        return self._parsed[1]

    @property
    def said(self) -> Attributes:
        """All that is chosen, or what the typed words say."""
        return self.attributes if self.typed is None else self.parsed.attributes

    @property
    def target(self) -> str:
        """What is outlined: the target of the prompt, or its whole text where none is recognised."""
        return _target(self.prompt)

    @property
    def target_in_view(self) -> Target:
        """What corrections are of: the target of the prompt or, if the prompt is empty, of the result that is shown."""
        asked = self.result.target if self.result is not None and not self.prompt.text else self.target
        return self.vocabulary.target(asked)

    def words_about(self, target: str) -> tuple[Attributes, Attributes]:
        """What the person said of a target, and what was read from a mask of it."""
        if self.target == target:
            every, names = self.said, self.measured if self.typed is None else frozenset()
        elif target in self.results:
            prompt = self.results[target].prompt
            every, names = prompt.attributes, frozenset(prompt.measured)
        else:
            every, names = Attributes(), frozenset()
        every, names = replace(every, target=target), names & every.named()
        return every.only(every.named() - names), every.only(names)

    def look_at(self, target: str) -> None:
        """Turn to a target of this scan, with what was said of it."""
        if target == self.target and self.prompt.text:
            self._prompt_changed()
            return
        self._remember_said()
        said = self._said_of.get(target)
        if said is None and target in self.results:
            said = _said_in(self.results[target].prompt)
        if said is None:
            known = target in self.vocabulary.targets
            said = Said(Attributes(target)) if known else Said(typed=target)
        self._say(said)
        self._prompt_changed()

    def choose(self, **words: str) -> None:
        """Pick attributes; a typed prompt gives way to what it says, with the new words in it.

        A target that was asked for in this scan comes back with what was said of it.
        """
        if list(words) == ["target"] and words["target"] in self.results and words["target"] != self.target:
            self.look_at(words["target"])
            return
        if "target" in words:
            self._remember_said()
        self._settle_typing()
        before = self.attributes
        if words.get("target", before.target) != before.target:
            # What describes one target says nothing about another; what describes scan and patient stays.
            before = before.only(_OF_THE_SCAN)
            self.measured = frozenset()
        self.attributes = fitting(replace(before, **words), self.vocabulary)
        self.measured &= self.attributes.named() - words.keys()
        if self.level not in self.vocabulary.family(self.attributes.target).levels:
            self.level = None
        self._prompt_changed()

    def set_level(self, level: str | None) -> None:
        """Say no more than a level ("p1" to "p9") does, or with None all that is chosen.

        A typed prompt gives way to what it says.

        Raises
        ------
        ValueError
            For a level that the target's kind of scan does not have.
        """
        self._settle_typing()
        levels = self.vocabulary.family(self.attributes.target).levels
        if level is not None and level not in levels:
            raise ValueError(f"The prompt level must be one of {', '.join(levels)}, but is {level!r}.")
        self.level = level
        self._prompt_changed()

    def type(self, text: str | None) -> None:
        """Type a prompt, or take the typing back with None."""
        self.typed = text
        self._prompt_changed()

    def use(self, prompt: Prompt) -> None:
        """Take a prompt from the history or from a comparison."""
        if prompt.level == "free":
            self.typed = prompt.text
        else:
            self.attributes, self.typed, self.level = prompt.attributes, None, None
            self.measured = frozenset(prompt.measured)
        self._prompt_changed()

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Use other words from now on."""
        self.vocabulary = vocabulary
        self._parsed = None
        self.attributes = fitting(self.attributes, vocabulary)
        self.measured &= self.attributes.named()
        if self.level not in vocabulary.family(self.attributes.target).levels:
            self.level = None
        self.vocabulary_changed.emit()
        self._prompt_changed()

    def enqueue(self) -> None:
        """Put the prompt on the list of what is outlined in one go, in the place of an earlier one for its target.

        Raises
        ------
        ValueError
            If the prompt is empty.
        """
        prompt = self._checked_prompt()
        places = [i for i, p in enumerate(self.queue) if _target(p) == _target(prompt)]
        if places:
            self.queue[places[0]] = prompt
        else:
            self.queue.append(prompt)
        self.queue_changed.emit()

    def dequeue(self, index: int | None = None) -> None:
        """Take one prompt off the list, or with None all."""
        self.queue = [] if index is None else [p for i, p in enumerate(self.queue) if i != index]
        self.queue_changed.emit()

    def coverage(self) -> Coverage:
        """How far the prompt lies within what the model was trained on."""
        if self.model is None or self.model.card.open_vocabulary:
            return Coverage((), (), True)
        return coverage(self.prompt.text, *self.vocabulary.trained(self.model.card))

    def weak_dice(self) -> float | None:
        """The model's test Dice for the target of the prompt, if it is too low to rely on."""
        value = self.model.card.test_dice(self.target) if self.model is not None else None
        return value if value is not None and value < WEAK_DICE else None

    # What an outline says ------------------------------------------------------------------------------------------

    def measure(self, seen: Description | None) -> None:
        """Fill in what is not said from the person's outline; what a person said is never changed.

        None takes back what was filled in.
        """
        said = self.attributes.only(self.attributes.named() - self.measured)
        self.attributes, self.measured = said, frozenset()
        if seen is not None and seen.number != "zero":
            self.attributes, self.measured = filled(said, seen.measured | seen.suggested, self.vocabulary)
        self._prompt_changed()

    def contradictions(self, seen: Description) -> tuple[Contradiction, ...]:
        """Where what the person said disagrees with an outline."""
        said = self.said
        measured = self.measured if self.typed is None else frozenset()
        return contradictions(said.only(said.named() - measured), seen)

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
        asked = [Result(self.scan_hash, model, p, _target(p), empty, options, words) for p in prompts]
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
        """What `segment` asks: the list, and the prompt as it stands, which takes the place of an older one.

        Raises
        ------
        ValueError
            If that is nothing.
        """
        if self.queue and not self.prompt.text:
            return list(self.queue)
        prompt = self._checked_prompt()
        others = [prompt if _target(p) == _target(prompt) else p for p in self.queue]
        return others if prompt in others else [*others, prompt]

    def compare(self, texts: list[str], size: tuple[int, int], done: Callable[[list[Bytes]], None]) -> Request:
        """Ask the engine for other wordings at a small size (rows, cols); `done` gets the probability maps.

        Nothing else changes; a later request takes its place.

        Raises
        ------
        ValueError
            As `segment`, the prompt aside.
        """
        scan, model = self._ready()
        if self.result is not None:
            # Whose words are compared, whatever model was picked since.
            model = self.result.model
        # Tiles are answered at full size only; a comparison sees what lies in the same rectangle, or the whole scan.
        where = SegmentOptions(region=self.result.options.region) if self.result is not None else WHOLE_SCAN
        return self._ask(model.folder, scan, texts, size, done, where)

    def ask(self, model: Path, texts: list[str], size: tuple[int, int], done: Callable[[list[Bytes]], None]) -> Request:
        """As `compare`, of the model in a folder, whichever is chosen; `prepare` returns to the chosen one."""
        scan, _ = self._ready()
        return self._ask(model, scan, texts, size, done, WHOLE_SCAN)

    def _ask(
        self,
        model: Path,
        scan: Scan,
        texts: list[str],
        size: tuple[int, int],
        done: Callable[[list[Bytes]], None],
        where: SegmentOptions,
    ) -> Request:
        request = self.engine.segment(model, EngineImage(self.scan_hash, scan.pixels), texts, size, where)
        self._outlining = False
        self._pending = (request.number, done)
        return request

    def saw(self, result: Result) -> bool:
        """Whether the model of a result was trained on this very scan, as its folder says."""
        folder = result.model.folder
        if folder not in self._trained:
            try:
                self._trained[folder] = frozenset(read_trained(folder))
            except ValueError as error:
                _log.warning("%s", error)
                self._trained[folder] = frozenset()
        return result.scan_hash in self._trained[folder]

    # The results ---------------------------------------------------------------------------------------------------

    @property
    def result(self) -> Result | None:
        """The result that is shown."""
        return self.results.get(self._shown)

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
        shown = self.result
        return frozenset(t for t, r in self.results.items() if shown is not None and r.request == shown.request)

    def mask(self, clean: bool = True, target: str | None = None) -> Mask | None:
        """The mask of a result, by default the one shown, at its threshold, with or without clean-up.

        None without a result.
        """
        result = self.result if target is None else self.results.get(target)
        if result is None:
            return None
        settings = self._settings(result)
        if not clean:
            return result.mask(settings, clean)
        kept = self._masks.get(result.target)
        if kept is None or kept[0] is not result or kept[1] != settings:
            kept = self._masks[result.target] = result, settings, result.mask(settings)
        return kept[2]

    def show_anyway(self) -> None:
        """Outline the result that is shown although the scan probably does not show what was asked for."""
        if self.result is not None:
            self.results[self.result.target] = replace(self.result, anyway=True)
            self.result_changed.emit()

    def take_up(self, annotation: Annotation) -> bool:
        """Show what a model said earlier of the scan in view, of which the outline alone was kept.

        False where the model is not there any more, or the target has a result.
        """
        made, target = annotation.provenance, annotation.target
        model = next((m for m in self.models.values() if made.model in (m.name, m.card.name)), None)
        if model is None or made.prompt is None or target in self.results or made.scan_hash != self.scan_hash:
            return False
        probability = np.where(annotation.mask, 255, 0).astype(np.uint8)
        threshold = model.card.threshold if made.threshold is None else made.threshold
        self._scan_settings[model.name, target] = MaskSettings(threshold, made.cleanup)
        self.results[target] = Result(
            made.scan_hash,
            model,
            made.prompt,
            target,
            probability,
            made.options,
            made.vocabulary_hash,
            made.weights_hash,
            anyway=bool(annotation.mask.any()),
        )
        self._said_of.setdefault(target, _said_in(made.prompt))
        if self._shown not in self.results or target == self.target:
            self._shown = target
        self.result_changed.emit()
        return True

    def predicted(self, target: str) -> Annotation | None:
        """The model's mask of a target, at its threshold and cleaned up, as an annotation; None without a result."""
        result, mask, scan = self.results.get(target), self.mask(target=target), self.scan
        if result is None or mask is None or scan is None:
            return None
        settings = self._settings(result)
        provenance = new_provenance(
            scan_hash=result.scan_hash,
            scan_size=scan.size,
            spacing=scan.spacing,
            spacing_from=scan.spacing_from,
            prompt=result.prompt,
            vocabulary_version=result.prompt.vocabulary_version,
            vocabulary_hash=result.vocabulary_hash,
            model=result.model.name,
            weights_hash=result.weights_hash,
            threshold=settings.threshold,
            cleanup=settings.cleanup,
            options=result.options,
        )
        said, measured = self.words_about(target)
        return Annotation(target, mask, said=said, measured=measured, provenance=provenance)

    # Within --------------------------------------------------------------------------------------------------------

    def _ready(self) -> tuple[Scan, ModelEntry]:
        if self.scan is None:
            raise ValueError(self.view.problem or "Choose or open a scan first.")
        if self.model is None:
            raise ValueError("No model was found; install the package again.")
        return self.scan, self.model

    def _settle_typing(self) -> None:
        """Choose what the typed words say, in their place; all of it is the person's."""
        if self.typed is not None:
            self.attributes, self.measured, self.typed = self.parsed.attributes, frozenset(), None

    def _checked_prompt(self) -> Prompt:
        prompt = self.prompt
        if not prompt.text and self.typed is not None:
            raise ValueError("The prompt is empty: type what to outline, or choose it from the list.")
        if not prompt.text:
            raise ValueError("Choose what to outline, or type it.")
        if prompt.attributes.number == "zero":
            raise ValueError(f"“{prompt.text}” says that there is nothing to outline; write what to look for.")
        return prompt

    def _prompt_changed(self) -> None:
        show = self.target in self.results and self.target != self._shown
        if show:
            self._shown = self.target
        self.prompt_changed.emit()
        if show:
            self.result_changed.emit()

    def _settings_key(self) -> tuple[str, str]:
        if self.result is not None:
            return self.result.model.name, self.result.target
        return self.model.name if self.model else "", self.target

    def _settings(self, result: Result | None = None) -> MaskSettings:
        """Of a result, by default the one shown, or else of the model and the target of the prompt."""
        result = result or self.result
        model = result.model if result is not None else self.model
        key = (result.model.name, result.target) if result is not None else self._settings_key()
        found = self._scan_settings.get(key) or self._mask_settings.get(key)
        return found or MaskSettings(model.card.threshold if model else 0.5)

    def _set_settings(self, settings: MaskSettings) -> None:
        key = self._settings_key()
        self._scan_settings[key] = self._mask_settings[key] = settings
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
            said_of = self._said_of
            work = ScanWork(self._said(), said_of, self.results, self._shown, self._scan_settings)
            self._works.keep(self._seen_hash, work)

    def _enter(self) -> None:
        """Take up the work on the scan in view, or begin it with what is not of the patient before."""
        before = self._said()
        work = self._works.find(self.scan_hash)
        if work is not None:
            self._say(work.said)
        else:
            self.attributes = self.attributes.only(self.attributes.named() - self.measured - _OF_THE_PATIENT)
            self.measured = frozenset()
            work = ScanWork()
        self.results, self._shown, self._masks = dict(work.results), work.shown, {}
        self._said_of, self._scan_settings = dict(work.said_of), dict(work.settings)
        if self._said() != before:
            self._prompt_changed()

    def _said(self) -> Said:
        return Said(self.attributes, self.measured, self.level, self.typed)

    def _say(self, said: Said) -> None:
        """Say something else; words that the vocabulary has no more are left out."""
        self.attributes = fitting(said.attributes, self.vocabulary)
        self.measured = said.measured & self.attributes.named()
        self.level = said.level if said.level in self.vocabulary.family(self.attributes.target).levels else None
        self.typed = said.typed

    def _remember_said(self) -> None:
        if self.prompt.text:
            self._said_of[self.target] = self._said()

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
            self._scan_settings[answer.model.name, answer.target] = self._settings(answer)
            self.results[answer.target] = answer
        self._shown = self.target if self.target in self.results else asked[0].target
        self.result_changed.emit()
        self.segmented.emit()


def _target(prompt: Prompt) -> str:
    return prompt.attributes.target or prompt.text or "everything"


def _said_in(prompt: Prompt) -> Said:
    if prompt.level == "free":
        return Said(prompt.attributes, typed=prompt.text)
    return Said(prompt.attributes, frozenset(prompt.measured))
