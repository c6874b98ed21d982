"""What is hammered: how a case is made, and the public function that opens it."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes
    ----------
    make : callable
        Writes a case into a folder and returns what is opened.
    open : callable
        Opens it; whatever it returns was read.
    share : int
        Of all cases, in parts of 100.
    most_bytes : int
        Memory that one case may take beside what the process takes without it.
    """

    make: Callable[[Path, random.Random], Path]
    open: Callable[[Path], object]
    share: int
    most_bytes: int


def _picture(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.pictures import make

    return make(folder, rng, mask=False)


def _mask(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.pictures import make

    return make(folder, rng, mask=True)


def _open_picture(path: Path) -> object:
    from napari_medvlsm.core.io.images import read_scan

    return read_scan(path).pixels.shape


def _open_mask(path: Path) -> object:
    from napari_medvlsm.core.io.mask_files import read_foreground

    return read_foreground(path).mask.shape


def _model(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.models import make_file

    return make_file(folder, rng)


def _open_model(path: Path) -> object:
    from napari_medvlsm.core.models.checkpoints.detect import read_checkpoint

    found = read_checkpoint(path)
    return found.kind("cris"), found.origin, found.files


def _model_folder(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.models import make_folder

    return make_folder(folder, rng)


def _open_model_folder(path: Path) -> object:
    from napari_medvlsm.core.models.loading import load_model
    from napari_medvlsm.core.models.store.registry import find_model

    find_model(str(path))
    return load_model(path).tokenize(["small polyp"])


def _table(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.datasets import make_table

    return make_table(folder, rng)


def _annotations(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.datasets import make_annotations

    return make_annotations(folder, rng)


def _open_set(path: Path) -> object:
    """As the check, the training and the evaluation read it, each of which may refuse it."""
    from napari_medvlsm.core.datasets.check import check_data
    from napari_medvlsm.core.datasets.reader import read_source
    from napari_medvlsm.core.datasets.source import SourceConfig
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary

    refused = None
    try:
        report = check_data(path)
    except ValueError as error:
        refused = error
    else:
        for finding in report.findings:
            if "\n" in finding.sentence or len(finding.sentence) > 2000:
                raise AssertionError(f"a finding is no sentence: {finding.sentence[:300]!r}")
    vocabulary = dataset_vocabulary([path], path / "no own words")
    items = read_source(path.parent, SourceConfig(path.name), vocabulary)
    masks = [mask.any() for found in items.values() for item in found for mask in item.load_masks().values()]
    if refused:
        raise refused
    return masks


def _odd_model(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.odd_models import make

    return make(folder, rng)


def _open_odd_model(path: Path) -> object:
    """As `medvlsm models import` does, with the configuration of a small model."""
    from napari_medvlsm.core.models.checkpoints.convert import ImportOptions, import_model

    like = path.parent / "like"
    options = ImportOptions(like.resolve().name, like=like, tokenizer=like)
    return import_model(path, "made", options, path.parent / "models")


def _odd_set(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.odd_sets import make

    return make(folder, rng)


def _open_odd_set(path: Path) -> object:
    """As the check, training, evaluation, and a project read it, each of which may refuse it."""
    from medvlsm_training.config import PromptConfig
    from medvlsm_training.evaluation.data import read_data
    from medvlsm_training.prompting import every_text
    from napari_medvlsm.core.datasets.reader import read_source
    from napari_medvlsm.core.datasets.source import SourceConfig
    from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
    from napari_medvlsm.core.projects.imports import read_dataset

    refused = None

    def attempt(work: Callable[[], object]) -> None:
        nonlocal refused
        try:
            work()
        except ValueError as error:
            refused = refused or error

    vocabulary = dataset_vocabulary([path], path / "no own words")

    def train() -> None:
        items = read_source(path.parent, SourceConfig(path.name), vocabulary)
        every_text(
            PromptConfig(mix={"p1": 1, "attributes": 1}), [i for found in items.values() for i in found], vocabulary
        )

    def evaluate() -> None:
        data = read_data(path, "test", vocabulary)
        _ = [case.load_mask() for case in data.cases]

    def project() -> None:
        for given in read_dataset(path, vocabulary)[1]:
            attempt(given.load)

    for work in (lambda: _open_set(path), train, evaluate, project):
        attempt(work)
    if refused:
        raise refused
    return True


def _recipe(folder: Path, rng: random.Random) -> Path:
    from tests.fuzz.datasets import make_recipe

    return make_recipe(folder, rng)


def _open_recipe(path: Path) -> object:
    from medvlsm_training.recipes import dumped, load_recipe

    return dumped(load_recipe(path))


_MB = 2**20
KINDS = {
    "pictures": Kind(_picture, _open_picture, 36, 1500 * _MB),
    "masks": Kind(_mask, _open_mask, 18, 1500 * _MB),
    "models": Kind(_model, _open_model, 14, 1000 * _MB),
    "odd models": Kind(_odd_model, _open_odd_model, 6, 1000 * _MB),
    "folders": Kind(_model_folder, _open_model_folder, 2, 1000 * _MB),
    "tables": Kind(_table, _open_set, 8, 1000 * _MB),
    "annotations": Kind(_annotations, _open_set, 6, 1000 * _MB),
    "odd sets": Kind(_odd_set, _open_odd_set, 8, 1000 * _MB),
    "recipes": Kind(_recipe, _open_recipe, 2, 1000 * _MB),
}
# Of these it is counted how many get behind the parser: to pixels, or to the making of a model.
DEEP = ("pictures", "masks", "odd models", "odd sets")


def _nothing(folder: Path, rng: random.Random) -> Path:
    path = folder / str(rng.random())
    path.touch()
    return path


def _fail(what: str) -> Callable[[Path], object]:
    def failing(path: Path) -> object:
        if what == "crash":
            os._exit(5)
        if what == "memory":
            return len(bytearray(50 * _MB))
        raise {"traceback": KeyError("x"), "no sentence": ValueError("two\nlines")}[what]

    return failing


# What the hammer must notice; its own tests use them.
FAULTY = {what: Kind(_nothing, _fail(what), 0, 20 * _MB) for what in ("crash", "memory", "traceback", "no sentence")}
