"""The loop, shown on real data: a clinician who corrects cases round by round, and what the model gains from them.

    python tests/bench/loop.py DATA RUNS [--seeds 1 2 3] [--minutes 60] [--tasks clinicdb drive] [--only-done]

Each round the scripted clinician corrects further cases (the correction is the true mask; its effort, the pixels by
which the model's outline is wrong), the base is trained further on all corrected cases by the recipe
`best/own` as it stands, and the result is measured on a hold-out of other patients or sequences that never changes.
Beside it: the same with cases in a random order, a UNet whose encoder begins with the same weights, trained on the
cases of the random order, and, without training, the mask of the corrected case that is nearest by the encoder's
features. After each round the targets that the base knew are measured too, of the trained weights alone, which
forget, and with the base that the model keeps. The base is the shipped starter; of the ulcers one in
RUNS/without-fuseg_foot_ulcer, trained without them (`training/loop.md`). Goes on where it stopped, and measures a round
anew whose `held.json` was deleted; prints tables and draws `loop.png` of what is done.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from loop_cases import TASKS, Case, Task, export, export_held_out, words
from loop_report import ELSEWHERE, Held, Round, print_tables, save_plot
from safetensors.torch import load_file, save_file

from medvlsm_training.config import ModelConfig, OptimizerConfig, Recipe
from medvlsm_training.evaluation.data import DataSet, read_data, recipe_sets
from medvlsm_training.evaluation.measure import answers
from medvlsm_training.evaluation.prompts import EvaluationPrompts
from medvlsm_training.evaluation.threshold import choose_threshold, sweep
from medvlsm_training.kept_base import keep_base
from medvlsm_training.least_change import least_change
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items, recipe_vocabulary, resolved
from medvlsm_training.train import load_trained, train
from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary
from napari_medvlsm.core.images import resize
from napari_medvlsm.core.improve.order import doubt_of, next_cases
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.kept_base import SegmenterWithBase, segmenter_of
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import BASE_FOLDER
from napari_medvlsm.core.models.store.registry import STARTER, find_model
from napari_medvlsm.core.runs.folder import BEST_FILE
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION

CHOSEN, RANDOM, UNET = "chosen", "random", "unet"
KINDS = (PromptKind.CLASS, PromptKind.ORACLE, PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE, PromptKind.ABSENT)
# Corrected cases up to which every seed is played.
LARGE = 40
ROUND_FILE, HELD_FILE, WEIGHTS_FILE = "round.json", "held.json", "weights.safetensors"
# Test scans of each of the base's sets, on which forgetting is measured.
OLDER = 10
# The rival: as the base's encoder, with a decoder that learns from nothing at a higher rate.
UNET_SIZES = {"architecture": "unet", "encoder": "tu-tf_efficientnet_lite0", "decoder_channels": [96, 64, 32, 16, 16]}
UNET_RATE, UNET_ENCODER_RATE = 0.001, 0.3


@dataclass(frozen=True)
class Planned:
    """One round to be played."""

    task: str
    seed: int
    arm: str
    size: int

    def folder(self, runs: Path) -> Path:
        return runs / self.task / self.arm / str(self.seed) / str(self.size)


def planned(tasks: Sequence[Task], seeds: Sequence[int]) -> Iterator[Planned]:
    """Seed by seed, small rounds first, so that whatever is finished can be compared; the longest at the end, once."""
    rounds = [(seed, task, size) for seed in seeds for task in tasks for size in task.sizes if size <= LARGE]
    rounds += [(seeds[0], task, size) for task in tasks for size in task.sizes if size > LARGE]
    for seed, task, size in rounds:
        for arm in (RANDOM, CHOSEN, UNET):
            if arm == CHOSEN and size >= len(task.pool):
                continue  # all of them: there is nothing to choose
            yield Planned(task.name, seed, arm, size)


class Clinic:
    """One task at play: its base, its hold-out, its features, its rounds.

    `older` are test scans of the base's own sets.
    """

    def __init__(self, task: Task, runs: Path, data: Path) -> None:
        self.task, self.runs, self.vocabulary = task, runs, words()
        self.folder = runs / task.name
        base = runs / f"without-{task.left_out}" / "model" if task.left_out else None
        if base is not None and not base.is_dir():
            raise SystemExit(f"There is no base without {task.left_out} in {base}; the page tells how to train it.")
        self.base = find_model(STARTER if base is None else str(base))
        known = recipe_sets(load_recipe("starter"), data, "test", self.vocabulary, limit=OLDER)
        self.older = [one for one in known if one.name != task.left_out]
        held = self.folder / "held_out"
        if not (held / "anns" / "test.json").is_file():
            export_held_out(task, held, self.vocabulary)
        self.held_out = read_data(held, "test", dataset_vocabulary([held]))

    def untouched(self) -> Segmenter:
        """The base as it is."""
        return Segmenter(load_model(self.base.folder), self.base.card, "cpu", "float32")

    def untrained(self) -> Held:
        """The base as it is, on the hold-out."""
        path = self.folder / "base.json"
        if not path.is_file():
            path.write_text(json.dumps(asdict(measured(self.untouched(), self.held_out, self.older))), "utf-8")
        return Held(**json.loads(path.read_text("utf-8")))

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the pool and of the hold-out, by the base's encoder."""
        path = self.folder / "features.npz"
        if not path.is_file():
            segmenter = self.untouched()
            images = [[case.image for case in cases] for cases in (self.task.pool, self.task.held_out)]
            pool, held = (np.stack([_features(segmenter, image) for image in some]) for some in images)
            np.savez(path, pool=pool, held=held)
        found = np.load(path)
        return found["pool"], found["held"]

    def nearest(self, cases: Sequence[int]) -> list[float]:
        """Dice of the mask of the nearest corrected case, on each case of the hold-out."""
        pool, held = (_unit(some) for some in self.features())
        found = []
        for place, case in enumerate(self.task.held_out):
            best = cases[int(np.argmax(pool[list(cases)] @ held[place]))]
            truth = case.load_mask()
            guess = resize(self.task.pool[best].load_mask().astype(np.float32), truth.shape) > 0.5
            found.append(dice(guess, truth))
        return found

    def cases(self, plan: Planned) -> tuple[list[int], list[str], float]:
        """Places in the pool of all corrected cases, their reasons, and the seconds that choosing took."""
        if plan.arm != CHOSEN:
            order = np.random.default_rng(plan.seed).permutation(len(self.task.pool)).tolist()
            return order[: plan.size], ["chosen at random"] * plan.size, 0.0
        start = time.monotonic()
        pool, _ = self.features()
        smaller = [size for size in self.task.sizes if size < plan.size]
        if not smaller:
            found = next_cases(pool, plan.size, plan.seed)
            return [n.place for n in found], [n.reason for n in found], time.monotonic() - start
        before = self.played(replace(plan, size=smaller[-1]))
        left = [i for i in range(len(self.task.pool)) if i not in before.cases]
        segmenter = self.segmenter(replace(plan, size=smaller[-1]))
        doubts = []
        for i in left:
            segmenter.set_image(read_scan(self.task.pool[i].image))
            answer = segmenter.segment(self.task.target)[0]
            doubts.append(doubt_of(answer.probability, segmenter.card.threshold))
        found = next_cases(pool[left], plan.size - len(before.cases), plan.seed, pool[before.cases], doubts)
        places = [*before.cases, *(left[n.place] for n in found)]
        return places, [*before.reasons, *(n.reason for n in found)], time.monotonic() - start

    def played(self, plan: Planned) -> Round:
        folder = plan.folder(self.runs)
        round_ = Round(**json.loads((folder / ROUND_FILE).read_text("utf-8")))
        if not (folder / HELD_FILE).is_file():
            self.measure(plan, self.segmenter(plan))
        return replace(round_, held=json.loads((folder / HELD_FILE).read_text("utf-8")))

    def segmenter(self, plan: Planned) -> Segmenter:
        """The model of a round that was played, with its threshold, and the base that it keeps."""
        folder = plan.folder(self.runs)
        model = load_model(self.base.folder)
        model.load_state_dict(load_file(folder / WEIGHTS_FILE))
        threshold = json.loads((folder / ROUND_FILE).read_text("utf-8"))["threshold"]
        names = self.vocabulary.names(self.vocabulary.target(self.task.target))
        card = replace(self.base.card, threshold=threshold, targets=(self.task.target,), phrases=names)
        shutil.rmtree(folder / BASE_FOLDER, ignore_errors=True)
        card = keep_base(card, self.recipe(plan), [self.task.target], self.vocabulary, folder)
        return segmenter_of(model, card, folder, "cpu", "float32")

    def measure(self, plan: Planned, segmenter: Segmenter) -> None:
        _write(plan.folder(self.runs) / HELD_FILE, asdict(measured(segmenter, self.held_out, self.older)))

    def recipe(self, plan: Planned) -> Recipe:
        """The default recipe of own corrections; for the rival, with its model."""
        base = str(self.base.folder) if self.task.left_out else STARTER
        recipe = load_recipe("best/own", [f"seed={plan.seed}", f"model.base={base}"])
        if plan.arm != UNET:
            return recipe
        weights = str(self.encoder_weights())
        model = ModelConfig("image-only", image_size=192, encoder_weights=weights, sizes=UNET_SIZES)
        optimizer = replace(recipe.optimizer, learning_rate=UNET_RATE, encoder_rate=UNET_ENCODER_RATE)
        assert isinstance(optimizer, OptimizerConfig)
        return replace(recipe, model=model, optimizer=optimizer, cache=replace(recipe.cache, views=0))

    def play(self, plan: Planned) -> Round:
        """Correct, train, measure; what is left of an interrupted training goes on."""
        folder = plan.folder(self.runs)
        folder.mkdir(parents=True, exist_ok=True)
        places, reasons, choosing = self.cases(plan)
        effort = self.effort(plan, places)
        data = folder / "data"
        if not (data / "anns" / "train.json").is_file():
            shutil.rmtree(data, ignore_errors=True)
            export(self.task, [self.task.pool[i] for i in places], data, self.vocabulary)
        recipe = self.recipe(plan)
        start, busy = time.monotonic(), time.process_time()
        stopped = train(recipe, data, folder / "run")
        if stopped.reason == "asked to stop":
            raise SystemExit(stopped.sentence)
        training, busy = time.monotonic() - start, time.process_time() - busy
        whole, known = resolved(recipe, data), recipe_vocabulary(recipe, data)
        model = load_trained(folder / "run" / BEST_FILE, whole, read_items(whole, data, known), known)
        segmenter = Segmenter(model, self.base.card, "cpu", "float32")
        validation = recipe_sets(recipe, data, "val", known)
        kept = 1.0
        if recipe.model.least_change:
            weights, least = load_model(self.base.folder).state_dict(), self.base.card.threshold
            kept, threshold = least_change(segmenter, weights, validation, known, least, recipe.prompts.wording)
            save_file(segmenter.model.state_dict(), folder / WEIGHTS_FILE)
        else:
            threshold = choose_threshold(sweep(segmenter, validation, known))
        segmenter.card = replace(segmenter.card, threshold=threshold)
        played = Round(
            **asdict(plan),
            cases=places,
            reasons=reasons,
            effort=effort,
            threshold=threshold,
            kept=kept,
            val_dice=stopped.val_dice or 0.0,
            choosing=choosing,
            training=training,
            busy=busy,
        )
        if plan.arm == UNET:
            self.measure(plan, segmenter)
        _write(folder / ROUND_FILE, asdict(played))
        for left in (folder / "run").glob("*.ckpt"):
            left.unlink()
        return self.played(plan)

    def effort(self, plan: Planned, places: Sequence[int]) -> list[float]:
        """Of the cases new in a round: the part of the scan's pixels by which the present outline is wrong."""
        smaller = [size for size in self.task.sizes if size < plan.size]
        new, model = list(places[smaller[-1] if smaller else 0 :]), self.untouched()
        before = replace(plan, size=smaller[-1]) if smaller else None
        if before is not None and (before.folder(self.runs) / WEIGHTS_FILE).is_file():
            model = self.segmenter(before)
        elif before is not None:
            return []  # the rival's outlines are not corrected
        return [self._wrong(model, self.task.pool[i]) for i in new]

    def encoder_weights(self) -> Path:
        """The base's image encoder as a file that the rival starts from."""
        path = self.folder / "encoder.safetensors"
        if not path.is_file():
            encoder = load_model(self.base.folder).encoders["image"]  # type: ignore[index]
            save_file({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}, path)
        return path

    def _wrong(self, segmenter: Segmenter, case: Case) -> float:
        segmenter.set_image(read_scan(case.image))
        return float((segmenter.segment(self.task.target)[0].mask() ^ case.load_mask()).mean())


def _write(path: Path, content: object) -> None:
    path.with_suffix(".part").write_text(json.dumps(content), "utf-8")
    path.with_suffix(".part").rename(path)


def measured(segmenter: Segmenter, data: DataSet, older: Sequence[DataSet]) -> Held:
    """Dice of the hold-out by name and sentence, with wrong side and size, and what is outlined where nothing is.

    With it, where the model takes words, Dice by name of the older sets; and of its own weights alone, where it keeps a
    base.
    """
    found: dict[PromptKind, dict[str, float]] = {kind: {} for kind in KINDS}
    absent: list[float] = []
    threshold = segmenter.card.threshold
    prompts = EvaluationPrompts(KINDS, ("p6",))
    for answer in answers(segmenter, data, prompts, data.vocabulary):
        mask = answer.prediction.mask(threshold)
        if answer.prompt.absent:
            absent.append(float(mask.mean() > FALSE_POSITIVE_FRACTION))
        else:
            found[answer.prompt.kind][answer.case.name] = dice(mask, answer.truth)
    for case in data.cases:
        absent += _elsewhere(segmenter, case.image, case.target, threshold)
    groups = [case.group for case in data.cases]
    columns = {kind.value: [found[kind].get(case.name) for case in data.cases] for kind in KINDS[:4]}
    known = _known_before(segmenter, older)
    if not isinstance(segmenter, SegmenterWithBase):
        return Held(groups, columns, absent, known)
    alone = Segmenter(segmenter.model, segmenter.card, "cpu", "float32")
    return Held(groups, columns, absent, known, _known_before(alone, older))


def _known_before(segmenter: Segmenter, older: Sequence[DataSet]) -> dict[str, list[float]]:
    """Dice by name of every case of the older sets that shows its target, by target."""
    found: dict[str, list[float]] = {}
    if segmenter.model.tokenizer is None:
        return found
    for data in older:
        for answer in answers(segmenter, data, EvaluationPrompts((PromptKind.CLASS,)), data.vocabulary):
            if answer.truth.any():
                mask = answer.prediction.mask(segmenter.card.threshold)
                found.setdefault(answer.case.target, []).append(dice(mask, answer.truth))
    return found


def _elsewhere(segmenter: Segmenter, image: Path, target: str, threshold: float) -> list[float]:
    """Whether more than 1 % is outlined of a scan that is asked for two targets of other kinds of scans."""
    if segmenter.model.tokenizer is None:
        return []
    others = [name for name in find_model(STARTER).card.targets if name != target][:ELSEWHERE]
    segmenter.set_image(read_scan(image))
    return [float(a.mask(threshold).mean() > FALSE_POSITIVE_FRACTION) for a in segmenter.segment(others)]


def _features(segmenter: Segmenter, image: Path) -> np.ndarray:
    segmenter.set_image(read_scan(image))
    return segmenter.features()


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("runs", type=Path, help="folder of what is played, and of the base without ulcers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    parser.add_argument("--arms", nargs="+", choices=(RANDOM, CHOSEN, UNET), default=[RANDOM, CHOSEN, UNET])
    parser.add_argument("--sizes", type=int, nargs="+", help="only these rounds")
    parser.add_argument("--minutes", type=float, help="begin no round after so many")
    parser.add_argument("--only-done", action="store_true", help="play nothing: tables and plot of what there is")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    tasks = [TASKS[name](options.data) for name in options.tasks]
    clinics = {task.name: Clinic(task, options.runs, options.data) for task in tasks}
    until = time.monotonic() + 60 * (options.minutes or 1e9)
    rounds: list[Round] = []
    for plan in planned(tasks, options.seeds):
        done = (plan.folder(options.runs) / ROUND_FILE).is_file()
        wanted = plan.arm in options.arms and (not options.sizes or plan.size in options.sizes)
        if not done and wanted and not options.only_done and time.monotonic() < until:
            played = clinics[plan.task].play(plan)
            print(f"{played.name}: Dice {played.dice:.3f}, {played.training:.0f} s", flush=True)
            done = True
        if done:
            rounds.append(clinics[plan.task].played(plan))
    untrained = {name: clinic.untrained() for name, clinic in clinics.items()}
    nearest = {r.name: clinics[r.task].nearest(r.cases) for r in rounds if r.arm == RANDOM}
    print_tables(tasks, rounds, untrained, nearest)
    save_plot(tasks, rounds, untrained, nearest, Path(__file__).with_suffix(".png"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
