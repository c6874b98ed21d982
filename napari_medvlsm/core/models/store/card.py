"""`model_card.json`: the metadata of a model folder. Imports no torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import is_folder, is_there, read_json
from napari_medvlsm.core.renamed_keys import with_current_metrics
from napari_medvlsm.core.validation_errors import first_problem

CARD_FILE = "model_card.json"
WEIGHTS_FILE = "model.safetensors"
# Every model folder holds these; the tokenizer's own files vary with the family.
PREPROCESSING_FILE = "preprocessor_config.json"
REQUIRED_FILES = ("config.json", WEIGHTS_FILE, PREPROCESSING_FILE, CARD_FILE)
# A folder of a model that adapts another (see `lora`) holds these instead.
ADAPTER_FILE, ADAPTER_WEIGHTS_FILE = "adapter.json", "adapter.safetensors"
ADAPTER_FILES = (ADAPTER_FILE, ADAPTER_WEIGHTS_FILE, CARD_FILE)
# Within a model folder: that of the model that it was trained from, see `KeptBase`.
BASE_FOLDER = "base"
# A round adds one within it where it leaves out a target of the round before.
_MOST_BASES = 8


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "expected a number")
    return value


def _with_cases(score: dict[str, float]) -> dict[str, float]:
    if "dice" in score and "cases" not in score:
        raise PydanticCustomError("cases", 'it has a "dice" and no "cases"')
    return score


# Whole numbers stay whole.
_Numbers = dict[str, Annotated[Any, BeforeValidator(_number)]]


@with_config(ConfigDict(extra="allow"))
class _Metrics(TypedDict, total=False):
    test: dict[str, Annotated[_Numbers, AfterValidator(_with_cases)]]


@with_config(ConfigDict(extra="allow"))
class _Effect(TypedDict):
    contrasts: dict[str, _Numbers]


@dataclass(frozen=True)
class DataSource:
    """One data set that a model saw in training, with its terms."""

    name: str
    licence: str
    citation: str
    train_images: int
    sha256: str


@dataclass(frozen=True)
class KeptBase:
    """What is asked of the model that was trained from, which the folder keeps in `BASE_FOLDER`.

    Attributes
    ----------
    title : str
        Of the base, for people.
    targets, own : mapping of str to tuple of str
        Targets with everything that they are called: those that the base answers, and those that the weights of the
        folder itself do, as they do whatever names none of either.
    dice : mapping of str to float
        Of the base's targets the mean Dice on test scans, where it is known.
    """

    title: str
    targets: dict[str, tuple[str, ...]]
    own: dict[str, tuple[str, ...]]
    dice: dict[str, Annotated[float, Field(ge=0, le=1)]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """The facts of a model folder.

    Attributes
    ----------
    name, title, summary : str
        Identifier, heading and one sentence, for people.
    family : str
        The key of the model family in `families.FAMILIES`, such as "clipseg".
    base : str
        What the weights started from.
    licence : str
        Terms of the weights.
    citation : str
        What to cite for the weights; the data sets have their own.
    source : dict
        Where imported weights come from: "file" and "sha256", or for several "files", a list of these; from the
        hub also "repository" and "revision".
    threshold : float
        Decision threshold on the probability, chosen on validation data.
    presence : float
        Below this presence score (`core.presence`) a scan probably does not show what was asked for; 0: never said.
    targets : tuple of str
        Phrases of `prompts.Target` that the model was trained on; empty means an open vocabulary.
    phrases, words : tuple of str
        All target names and all single words seen in training.
    kept_base : KeptBase, optional
        Where the folder keeps its base: which of these targets are asked of that.
    data : tuple of DataSource
    metrics : dict
        Metric values by split and target; `metrics_note` says how they were made.
    training : dict
        How it was trained; in imported weights "untrained" names what starts at random.
    prompt_effect : dict
        How much the words change its outlines, by data set: see `core.effect.measure`, with what was measured.
    software_version, created : str
        Version of this package, ISO date.
    """

    name: str
    title: str
    family: str
    summary: str = ""
    base: str = ""
    licence: str = ""
    citation: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    presence: Annotated[float, Field(ge=0, le=1)] = 0.0
    targets: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    kept_base: KeptBase | None = None
    data: tuple[DataSource, ...] = ()
    metrics: Annotated[
        dict[str, Any], GetPydanticSchema(lambda _, of: of(_Metrics)), BeforeValidator(with_current_metrics)
    ] = field(default_factory=dict)
    metrics_note: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    prompt_effect: Annotated[dict[str, Any], GetPydanticSchema(lambda _, of: of(dict[str, _Effect]))] = field(
        default_factory=dict
    )
    software_version: str = ""
    created: str = ""

    def test_dice(self, target: str) -> float | None:
        """Mean Dice on the test scans that show a target; None where it was not measured."""
        value = self.metrics.get("test", {}).get(target, {}).get("dice")
        if value is None and self.kept_base is not None:
            value = self.kept_base.dice.get(target)
        return None if value is None else float(value)

    @property
    def untrained(self) -> str:
        """The part that must be finetuned before use; "" if there is none."""
        return str(self.training.get("untrained", ""))

    @property
    def open_vocabulary(self) -> bool:
        """Whether any words may be used (nothing is known of the training prompts)."""
        return not self.words


_CARD = TypeAdapter(ModelCard)


def read_card(folder: Path) -> ModelCard:
    """Read and check the card of a model folder.

    Raises
    ------
    ValueError
        If the folder misses a file or the card cannot be read; the sentence says what to do.
    """
    if not is_folder(folder):
        raise ValueError(f"There is no model folder at {folder}.")
    required = ADAPTER_FILES if (folder / ADAPTER_FILE).is_file() else REQUIRED_FILES
    missing = [name for name in required if not is_there(folder / name)]
    if missing:
        raise ValueError(f"The model folder {folder} misses {', '.join(missing)}. Copy the complete folder again.")
    try:
        return _CARD.validate_python(read_json(folder / CARD_FILE))
    except ValidationError as error:
        raise ValueError(f"{folder / CARD_FILE} cannot be read as a model card: {first_problem(error)}.") from error


def kept_bases(folder: Path, card: ModelCard) -> list[tuple[Path, ModelCard]]:
    """Folders and cards of the models that a model keeps: its base, the base of that, and so on.

    Raises
    ------
    ValueError
        If one is missing or its card cannot be read, or there are too many.
    """
    found: list[tuple[Path, ModelCard]] = []
    while card.kept_base is not None:
        folder = folder / BASE_FOLDER
        if len(found) == _MOST_BASES:
            raise ValueError(f"{folder} is one base too many: a model keeps at most {_MOST_BASES} within one another.")
        card = read_card(folder)
        found.append((folder, card))
    return found


def write_card(card: ModelCard, folder: Path) -> None:
    """Write `model_card.json` into `folder`, at once or not at all."""
    text = json.dumps(asdict(card), indent=1, ensure_ascii=False)
    with replacing(folder / CARD_FILE) as temporary:
        temporary.write_text(text + "\n", "utf-8")
