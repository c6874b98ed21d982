"""What a run leaves behind, on made data: recipes' sets, kinds of prompts, resumed evaluations, card, report, bars."""

import base64
import importlib.util
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlsm_training.config import (
    MeasureConfig,
    ModelConfig,
    OptimizerConfig,
    PromptConfig,
    Recipe,
    TrainerConfig,
)
from medvlsm_training.evaluation.data import read_data, recipe_sets
from medvlsm_training.evaluation.measure import measure
from medvlsm_training.evaluation.presence import OTHER, PRESENT, SAME, presence_answers
from medvlsm_training.evaluation.prompts import EvaluationPrompts, evaluation_prompts, paraphrases
from medvlsm_training.evaluation.run import evaluate_sets
from medvlsm_training.evaluation.threshold import choose_threshold
from medvlsm_training.package import by_target, package
from medvlsm_training.recipes import dumped, load_recipe
from medvlsm_training.report import MODEL_COLOR, TRUE_COLOR, choose_examples, plot_case
from medvlsm_training.train import train
from napari_medvlsm.cli import main
from napari_medvlsm.core.datasets.info import DatasetInfo, write_info
from napari_medvlsm.core.inference import Prediction, Segmenter
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.prompts import load_vocabulary, normalise
from napari_medvlsm.core.runs import events
from napari_medvlsm.core.runs.comparison import pair_up
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import read_results, trained_on
from napari_medvlsm.core.runs.scores import Score, read_scores
from napari_medvlsm.core.runs.summary import contrasts, summarise
from tests.training.builders import PROMPTS, TINY, bright, disk, source, write_set

VOCABULARY = load_vocabulary()
LISTENING = (PromptKind.CLASS, PromptKind.PARAPHRASE, PromptKind.OTHER, PromptKind.ABSENT)
SPLITS = {"train": range(4), "val": range(4, 6), "test": range(6, 10)}
BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Polyps as our export writes them, chests with one mask of both lungs, and a set to be met in the test only."""
    root, rng = tmp_path_factory.mktemp("outcome"), np.random.default_rng(3)

    def polyp(i):
        mask = np.zeros((40, 56), bool)
        mask[5:18, 3 + i : 20 + i] = True
        return bright(rng, mask), mask

    def lungs(_):
        mask = np.zeros((40, 48), bool)
        mask[6:34, 4:18] = mask[6:34, 28:44] = True
        return bright(rng, mask), mask

    write_set(root / "mine", SPLITS, polyp, PROMPTS)
    write_set(root / "chest", SPLITS, lungs)
    write_set(root / "elsewhere", SPLITS, polyp)
    return root


RECIPE = Recipe(
    name="tiny",
    title="Tiny <script>alert(1)</script>",
    summary="For tests & nothing else.",
    licence="CC0",
    sources=(
        source("mine", layout="upstream"),
        source("chest", modality="chest x-ray", target="lungs", split_lungs=True),
        source("elsewhere", tested_only=True),
    ),
    model=ModelConfig(image_size=32, sizes=TINY),
    prompts=PromptConfig(absent=0.3, per_image=2),
    optimizer=OptimizerConfig(learning_rate=3e-3, ema=0.5),
    trainer=TrainerConfig(max_epochs=2, batch_size=4),
)


@pytest.fixture(scope="module")
def outcome(data, tmp_path_factory):
    """A real run, packaged; and what was told meanwhile."""
    run, told = tmp_path_factory.mktemp("run"), []
    train(RECIPE, data, run)
    package(RECIPE, data, run, run / "model", told.append)
    return run, told


# Sets --------------------------------------------------------------------------------------------------------------


def test_a_folder_and_a_recipe_give_the_same_cases(data):
    plain, ruled = read_data(data / "mine", "test", VOCABULARY), recipe_sets(RECIPE, data, "test", VOCABULARY)[0]
    assert [c.name for c in plain.cases] == [c.name for c in ruled.cases] == ["6.png", "7.png", "8.png", "9.png"]
    assert plain.sha256 == ruled.sha256 and plain.cases[0].annotation == ruled.cases[0].annotation
    assert plain.cases[0].annotation.attributes.shape == "round" and plain.cases[0].modality == "endoscopy"


def test_annotations_of_ones_own_speak_in_oracle_prompts(data):
    case = read_data(data / "mine", "test", VOCABULARY).cases[0]
    (asked,) = evaluation_prompts(case, case.load_mask(), EvaluationPrompts((PromptKind.ORACLE,)), VOCABULARY)
    assert "white round polyp" in asked.text and "located in" in asked.text
    chest = recipe_sets(RECIPE, data, "test", VOCABULARY)[1].cases[0]
    assert (
        evaluation_prompts(
            chest, chest.load_mask(), EvaluationPrompts((PromptKind.ORACLE,), annotated=True), VOCABULARY
        )
        == []
    )


def test_one_mask_of_both_lungs_is_three_cases(data):
    chest = recipe_sets(RECIPE, data, "test", VOCABULARY)[1]
    assert [c.target for c in chest.cases[:3]] == ["lungs", "left lung", "right lung"] and len(chest.cases) == 12
    both, left, right = (case.load_mask() for case in chest.cases[:3])
    assert left[:, 28:].any() and not left[:, :20].any() and np.array_equal(left | right, both)
    assert len({case.name for case in chest.cases}) == 12
    assert [case.first for case in chest.cases[:4]] == [True, False, False, True]
    one = recipe_sets(RECIPE, data, "test", VOCABULARY, ["left lung"], limit=2)
    assert [(c.target, {o.target for o in c.others}) for d in one for c in d.cases] == [
        ("left lung", {"lungs", "right lung"})
    ] * 2


def test_rules_of_the_recipe_hold_and_empty_splits_are_no_sets(data):
    without = replace(RECIPE, sources=(replace(RECIPE.sources[0], leave_out=("6.png",)), *RECIPE.sources[1:]))
    assert [c.image.name for c in recipe_sets(without, data, "test", VOCABULARY)[0].cases] == [
        "7.png",
        "8.png",
        "9.png",
    ]
    assert [d.name for d in recipe_sets(RECIPE, data, "val", VOCABULARY)] == ["mine", "chest"]
    with pytest.raises(ValueError, match="train, val, test, but not 'dev'"):
        recipe_sets(RECIPE, data, "dev", VOCABULARY)


def test_a_folder_without_splits_is_measured_whole(data, tmp_path):
    (tmp_path / "plain").mkdir()
    for part in ("images", "masks"):
        (tmp_path / "plain" / part).symlink_to(data / "chest" / part)
    found = read_data(tmp_path / "plain", "test", VOCABULARY, ["lungs"])
    assert found.split == "all" and len(found.cases) == 10


# Kinds -------------------------------------------------------------------------------------------------------------


def asked(case, *kinds):
    return [(q.kind, q.text) for q in evaluation_prompts(case, case.load_mask(), EvaluationPrompts(kinds), VOCABULARY)]


def test_the_other_target_is_no_part_and_no_whole(data):
    both, left, right = recipe_sets(RECIPE, data, "test", VOCABULARY)[1].cases[:3]
    assert asked(left, PromptKind.OTHER) == [(PromptKind.OTHER, "right lung")]
    assert asked(right, PromptKind.OTHER) == [(PromptKind.OTHER, "left lung")] and asked(both, PromptKind.OTHER) == []


def test_what_a_scan_cannot_show_is_asked_once_an_image(data):
    both, left, _ = recipe_sets(RECIPE, data, "test", VOCABULARY)[1].cases[:3]
    assert [text for _, text in asked(both, PromptKind.ABSENT)] == list(VOCABULARY.modalities["chest x-ray"].absent)
    assert asked(left, PromptKind.ABSENT) == []


def test_what_other_scans_of_the_set_show_is_not_asked_for_as_absent(tmp_path, rng):
    folder = write_set(tmp_path / "stomach", {"test": range(4)}, lambda _: disk(rng))
    rows = ["image,mask,target", *(f"{i}.png,{i}.png,{'polyp' if i else 'stomach ulcer'}" for i in range(4))]
    (folder / "targets.csv").write_text("\n".join(rows))
    write_info(folder, DatasetInfo("Stomach", modality="endoscopy"))
    found = read_data(folder, "test", VOCABULARY)
    assert found.shown("endoscopy") == {"polyp", "stomach ulcer"}
    for case in found.cases:
        asked = evaluation_prompts(
            case,
            case.load_mask(),
            EvaluationPrompts((PromptKind.ABSENT,)),
            VOCABULARY,
            shown=found.shown(case.modality),
        )
        assert [prompt.text for prompt in asked] == ["vocal cords", "esophageal varices"]


class Sure:
    """A segmenter that outlines all of a scan whatever it is asked for."""

    def set_image(self, scan):
        self.size = scan.size

    def segment(self, texts):
        return [Prediction(text, None, np.full(self.size, 255, np.uint8), 0.5) for text in texts]


def test_presence_asks_for_no_target_as_absent_that_such_scans_show(tmp_path, rng):
    folder = write_set(tmp_path / "wounds", {"val": range(2)}, lambda _: disk(rng))
    (folder / "targets.csv").write_text("image,mask,target\n0.png,0.png,foot ulcer\n1.png,1.png,skin melanoma")
    write_info(folder, DatasetInfo("Wounds", modality="dermoscopy"))
    found = presence_answers(
        Sure(), [read_data(folder, "val", VOCABULARY)], ["foot ulcer", "polyp", "skin melanoma"], VOCABULARY, 0.5
    )
    asked = {(answer.image, answer.asked, answer.what) for answer in found if answer.what in (PRESENT, OTHER)}
    assert asked == {
        ("0.png", "foot ulcer", PRESENT),
        ("0.png", "polyp", OTHER),
        ("1.png", "skin melanoma", PRESENT),
        ("1.png", "polyp", OTHER),
    }
    assert {answer.asked for answer in found if answer.what == SAME} == {"finger nail", "scalp hair"}


def test_paraphrases_are_unseen_in_training():
    recipe = load_recipe("starter")
    names = {name for target in VOCABULARY.targets.values() for name in target.names}
    known = {normalise(name) for name in names}
    known |= {normalise(template.format(name)) for template in recipe.prompts.templates for name in names}
    assert set(paraphrases()) == set(VOCABULARY.targets)
    for target, texts in paraphrases().items():
        assert len(texts) == len(set(map(normalise, texts))) == 4, target
        assert not known & set(map(normalise, texts)), target


def test_answers_are_held_against_what_should_be_drawn(data, small_clipseg, small_card):
    chest = recipe_sets(RECIPE, data, "test", VOCABULARY, limit=2)[1]
    found = measure(Segmenter(small_clipseg, small_card, "cpu"), chest, EvaluationPrompts(LISTENING), VOCABULARY, 0.5)
    scores = [s for s in found.scores if s.size == "original"]
    absent = [s for s in scores if s.kind == "absent"]
    assert len(absent) == 2 * 3 and {s.target for s in absent} == set(VOCABULARY.modalities["chest x-ray"].absent)
    assert all(not s.present and s.dice == float(s.predicted_fraction == 0) for s in absent)
    wrong = next(s for s in scores if s.kind == "other")
    same = [s.predicted_fraction for s in scores if (s.kind, s.image, s.target) == ("class", wrong.image, "right lung")]
    assert wrong.prompt == "right lung" and wrong.target == "left lung" and wrong.predicted_fraction == same[0]
    rows = {(r["target"], r["kind"]): r for r in contrasts(scores)}
    assert rows["left lung", "other"]["against"] == "class" and rows["left lung", "other"]["difference"]["cases"] == 2
    assert rows["lungs", "paraphrase"]["difference"]["cases"] == 8 and ("lungs", "other") not in rows
    named = [s.dice for s in scores if (s.kind, s.target) == ("class", "left lung")]
    assert rows["left lung", "other"]["first"] == pytest.approx(np.mean(named), abs=1e-6)
    assert not any(key[1] == "other" for key in found.calibration)


def test_absent_targets_do_not_split_the_rows_of_the_name(data, small_clipseg, small_card):
    (mine, *_) = recipe_sets(RECIPE, data, "test", VOCABULARY)
    found = measure(
        Segmenter(small_clipseg, small_card, "cpu"),
        mine,
        EvaluationPrompts((PromptKind.CLASS, PromptKind.ABSENT)),
        VOCABULARY,
        0.5,
    )
    rows = [(row["target"], row["kind"]) for row in summarise(found.scores) if row["size"] == "original"]
    assert rows.count(("polyp", "class")) == 1 and ("all targets", "class") not in rows
    assert ("all targets", "absent") in rows


# Running -----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As a signal would end it."""


def test_an_interrupted_evaluation_goes_on_and_ends_with_the_same_files(data, model_folder, tmp_path):
    sets, prompts = recipe_sets(RECIPE, data, "test", VOCABULARY), EvaluationPrompts(LISTENING)
    evaluate_sets(str(model_folder), sets, tmp_path / "whole", prompts, device="cpu")
    seen = []

    def killed_in_the_second(cases):
        seen.append(len(cases))
        for i, case in enumerate(cases):
            if len(seen) == 2 and i:
                raise Killed
            yield case

    def counted(cases):
        seen.append(len(cases))
        return cases

    out = tmp_path / "parts"
    with pytest.raises(Killed):
        evaluate_sets(str(model_folder), sets, out, prompts, device="cpu", progress=killed_in_the_second)
    assert not out.exists() and len(list((tmp_path / "parts.unfinished").iterdir())) == 1
    seen.clear()
    evaluate_sets(str(model_folder), sets, out, prompts, device="cpu", progress=counted)
    assert seen == [12, 4]  # the first set is not measured again
    for name in ("cases.csv", "summary.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "parts.unfinished").exists()


def test_parts_of_another_threshold_or_damaged_ones_are_measured_again(data, model_folder, tmp_path):
    sets, counts = recipe_sets(RECIPE, data, "test", VOCABULARY)[:2], []

    def run(stop, **more):
        seen = []

        def progress(cases):
            seen.append(len(cases))
            if len(seen) == stop:
                raise Killed
            return cases

        try:
            evaluate_sets(str(model_folder), sets, tmp_path / "out", device="cpu", progress=progress, **more)
        except Killed:
            pass
        counts.append(len(seen))

    run(2)
    run(9, threshold=0.3)
    run(2, threshold=0.6, replace=True)
    for path in (tmp_path / "out.unfinished").iterdir():
        path.write_text('{"scores": [')
    run(9, threshold=0.6, replace=True)
    assert counts == [2, 2, 2, 2]


def test_the_command_measures_a_recipe_and_a_run(data, outcome, model_folder, tmp_path, capsys):
    run, _ = outcome
    (tmp_path / "tiny.yaml").write_text(dumped(RECIPE))
    ask = ["evaluate", "--data", str(data), "--device", "cpu", "--limit", "2"]
    ask += ["--kinds", "class", "other", "paraphrase"]
    file = ["--recipe", str(tmp_path / "tiny.yaml"), "--model", str(model_folder)]
    assert main([*ask, *file, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert "chest, left lung: other against the right words" in said and "elsewhere" in said
    assert main([*ask, "--recipe", str(run), "--out", str(tmp_path / "b")]) == 0
    assert read_results(tmp_path / "b").about.title == RECIPE.title
    capsys.readouterr()
    for wrong in (["evaluate", "--out", "x"], ["evaluate", "--recipe", "starter", "--out", "x"]):
        assert main(wrong) == 2 and "--data" in capsys.readouterr().err


# Model folder and card -----------------------------------------------------------------------------------------------


def test_the_card_tells_sets_kinds_intervals_and_how_it_was_made(outcome):
    run, _ = outcome
    card = read_card(run / "model")
    test = card.metrics["test"]
    assert set(test) == {"polyp", "lungs", "left lung", "right lung"} and test["polyp"]["cases"] == 4
    assert test["lungs"]["dice_low"] <= test["lungs"]["dice"] <= test["lungs"]["dice_high"]
    assert card.test_dice("polyp") == test["polyp"]["dice"]
    asked_of = {(row["set"], row["kind"], row["level"]) for row in card.metrics["rows"]}
    assert {("mine", "oracle", "p6"), ("chest", "class", "p1"), ("chest", "absent", "p1")} <= asked_of
    assert ("chest", "oracle", "p6") not in asked_of  # there are no annotations
    assert card.metrics["test_absent"]["cases"] == 12 * 3
    assert len(card.metrics["sets"]["chest"]["sha256"]) == 64
    facts = card.training
    assert (facts["epochs"], facts["images_seen"], facts["images_per_epoch"]) == (2, 16, 8)
    assert facts["seconds"] > 0 and facts["cores"] > 0 and facts["packages"]["torch"] and facts["seed"] == 1
    assert [source.name for source in card.data] == ["mine", "chest"] and card.data[0].train_images == 4
    assert trained_on(facts) == ("mine", "chest")


def test_sets_that_were_only_tested_do_not_enter_the_numbers_of_those_trained_on(outcome):
    run, _ = outcome
    scores = [s for s in read_scores(run / "test") if (s.kind, s.size, s.target) == ("class", "original", "polyp")]
    own = [s.dice for s in scores if s.set == "mine"]
    assert len(scores) == 8
    assert read_card(run / "model").metrics["test"]["polyp"]["dice"] == pytest.approx(np.mean(own), abs=1e-4)


def test_the_saved_model_measured_again_gives_the_cards_numbers(data, outcome, tmp_path):
    run, _ = outcome
    again = evaluate_sets(
        str(run / "model"), recipe_sets(RECIPE, data, "test", VOCABULARY), tmp_path / "again", device="cpu"
    )
    pairs = pair_up(run / "test", tmp_path / "again", "class")
    assert len(pairs) == 2 * 20 and again.about.threshold == read_card(run / "model").threshold
    assert again.about.weights == read_results(run / "test").about.weights
    for pair in pairs:
        assert pair.first.dice == pytest.approx(pair.second.dice, abs=1e-6)


def test_every_row_of_the_card_is_told_and_then_where_it_is(outcome):
    run, told = outcome
    rows = read_card(run / "model").metrics["rows"]
    assert [type(event) for event in told] == [events.Measured] * len(rows) + [events.Saved]
    first = told[0]
    assert (first.set, first.kind, first.dice) == (rows[0]["set"], rows[0]["kind"], rows[0]["dice"]["mean"])
    assert told[-1] == events.Saved(str(run / "model"), str(run / "report.html")) and (run / "report.html").is_file()


def test_an_image_only_model_is_measured_the_same_way(data, outcome, tmp_path):
    sizes = {"encoder": "mobilenet_v2", "decoder_channels": [16, 8, 8, 8, 8]}
    small = ModelConfig(family="image-only", image_size=32, sizes=sizes)
    recipe = replace(RECIPE, model=small, trainer=replace(RECIPE.trainer, max_epochs=1))
    train(recipe, data, tmp_path)
    card = package(recipe, data, tmp_path, tmp_path / "model")
    theirs = read_card(outcome[0] / "model")
    asked_of = [[(r["set"], r["target"], r["kind"], r["cases"]) for r in c.metrics["rows"]] for c in (card, theirs)]
    assert asked_of[0] == asked_of[1] and card.metrics["test_absent"]["false_positive_rate"] == 0
    assert len(pair_up(tmp_path / "test", outcome[0] / "test")) == 2 * (20 + 4 + 36)


def test_the_package_command_tells_lines_of_json(data, outcome, tmp_path, capfd):
    run = shutil.copytree(outcome[0], tmp_path / "run")
    assert main(["package", str(run), "--data", str(data), "--out", str(tmp_path / "made"), "--events"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["event"] for line in lines[:-1]} == {"measured"} and lines[-1]["event"] == "saved"
    assert Path(lines[-1]["folder"], "model.safetensors").is_file() and Path(lines[-1]["report"]).is_file()


def test_a_run_whose_validation_and_test_are_empty_still_gives_a_model(data, tmp_path):
    mine = Path(shutil.copytree(data / "mine", tmp_path / "mine"))
    recipe = replace(RECIPE, sources=RECIPE.sources[:1], trainer=replace(RECIPE.trainer, threshold=0.35, max_epochs=1))
    train(recipe, tmp_path, tmp_path / "run")
    for split in ("val", "test"):
        (mine / "anns" / f"{split}.json").write_text("[]")
    with pytest.raises(ValueError, match="validation split: 2 earlier images are not there any more"):
        package(recipe, tmp_path, tmp_path / "run", tmp_path / "run" / "model")
    card = package(recipe, tmp_path, tmp_path / "run", tmp_path / "run" / "model", changed_data=True)
    assert card.metrics["rows"] == [] and card.threshold == 0.35
    assert read_card(tmp_path / "run" / "model").name == "tiny"
    assert "nothing was measured" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_threshold_is_the_best_over_targets_not_over_cases():
    assert choose_threshold({0.3: {"a": [0.6] * 9, "b": [0.1]}, 0.5: {"a": [0.5] * 9, "b": [0.9]}}) == 0.5


def test_a_few_scans_do_not_move_the_threshold_of_the_base():
    found = {0.2: {"a": [0.70]}, 0.5: {"a": [0.815]}, 0.6: {"a": [0.815]}, 0.8: {"a": [0.82]}}
    assert choose_threshold(found) == 0.8
    assert choose_threshold(found, 0.6) == 0.6 and choose_threshold(found, 0.4) == 0.5
    assert choose_threshold(found | {0.2: {"a": [0.9]}}, 0.6) == 0.2


def test_a_recipe_always_measures_by_name():
    with pytest.raises(ValueError, match="class"):
        MeasureConfig(kinds=("absent",))
    with pytest.raises(ValueError, match="p12"):
        MeasureConfig(levels=("p12",))


SCORE = Score(
    **dict.fromkeys(("set", "split", "case", "image", "group", "target", "level", "wording", "prompt", "unit"), "a"),
    **dict.fromkeys(("dice", "iou", "precision", "recall", "hd95", "nsd", "predicted_fraction"), 0.5),
    kind="class",
    size="original",
    present=True,
)


def score(case="a", dice=0.5, **more):
    return replace(SCORE, case=case, group=case, dice=dice, **more)


def test_absent_cases_are_counted_apart():
    found = [
        score("a", 0.8),
        score("b", 0.0, present=False, predicted_fraction=0.2),
        score("c", 1.0, present=False, predicted_fraction=0.0),
    ]
    assert by_target(found)["a"] == {
        "cases": 1, "dice": 0.8, "iou": 0.5, "missed": 0, "absent_cases": 2, "false_positive_rate": 0.5
    }  # fmt: skip


# Report --------------------------------------------------------------------------------------------------------------


def test_the_report_is_one_file_with_everything_in_it(outcome):
    run, _ = outcome
    text = (run / "report.html").read_text("utf-8")
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]{1,30})""", text)
    assert links and all(link.startswith("data:image/") for link in links)
    assert "<script>" not in text and "Tiny &lt;script&gt;" in text and "tests &amp; nothing" in text
    assert "For research use, not a medical device" in text and "contains scans" in text
    assert text.count("<figure>") == 3 * 3 and "elsewhere <span" in text and "(not trained on)" in text
    for word in ("Worst: Dice", "Median: Dice", "Best: Dice", "oracle P6", "optimizer.learning_rate", "images_seen"):
        assert word in text
    row = next(r for r in read_card(run / "model").metrics["rows"] if (r["set"], r["kind"]) == ("mine", "class"))
    assert f"<b>{row['dice']['mean']:.3f}</b>" in text
    for kind, encoded in re.findall(r"data:image/(\w+);base64,([^\"]+)", text):
        assert Image.open(io.BytesIO(base64.b64decode(encoded))).format == kind.upper()
    with Image.open(run / "curves.png") as curves:
        assert curves.size[0] > 500 and (run / "curves.csv").is_file()
    assert str(run) not in text


def test_both_outlines_are_drawn_where_they_are():
    truth, found = np.zeros((60, 90), bool), np.zeros((60, 90), bool)
    truth[10:30, 10:40], found[30:60, 50:90] = True, True
    pixels = np.asarray(Image.open(io.BytesIO(plot_case(np.zeros((60, 90, 3)), truth, found))), float)
    scale = pixels.shape[1] / 90

    def near(color, *box):
        row0, row1, col0, col1 = (round(edge * scale) for edge in box)
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        return np.abs(pixels[row0:row1, col0:col1] - wanted).sum(-1).min() < 60

    assert near(TRUE_COLOR, 8, 12, 15, 35) and not near(TRUE_COLOR, 35, 60, 0, 40)
    assert near(MODEL_COLOR, 28, 32, 55, 85) and not near(MODEL_COLOR, 0, 25, 0, 90)
    # An outline is closed at the border, and there are none of nothing.
    plot_case(np.zeros((60, 90, 3)), np.ones((60, 90), bool), np.zeros((60, 90), bool))


def test_examples_are_worst_median_and_best_of_the_cases_that_show_something():
    found = [score(str(i), i / 10) for i in (3, 1, 4, 5, 9)]
    found += [score("x", 0.0, present=False), score("y", 0.0, size="model"), score("z", 0.0, kind="oracle")]
    assert {rank: s.dice for rank, s in choose_examples(found).items()} == {"worst": 0.1, "median": 0.4, "best": 0.9}
    assert list(choose_examples(found[:1])) == ["worst"] and choose_examples(found[5:]) == {}


# Bars ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars():
    return script("starter_bars")


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their own up
    spec.loader.exec_module(module)
    return module


def test_the_study_tells_what_right_and_wrong_words_do(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    study = script("study")
    monkeypatch.setattr(study, "several", lambda data: frozenset({("isic", "b")}))
    asked = (("class", 0.6), ("oracle", 0.8), ("wrong side", 0.5))
    found = [score(case, dice, kind=kind, level="p6", set="isic") for kind, dice in asked for case in "ab"]
    both = study.Condition("both", tuple(study.SETS), 1)
    text = study.words_table({both: found}, {both: {"isic": [1.0, 1.0, 0.0, 1.0]}}, BENCH)
    (line,) = [line for line in text.splitlines() if line.startswith("| both | ISIC 2016")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert [cell.split(" ")[0] for cell in cells[2:]] == ["60.0", "80.0", "20.0", "20.0", "30.0", "", "75"]
    text = study.dice_table({study.Condition("P1: the name", ("isic",), 1): found})
    assert "| ISIC 2016 | P1: the name |" in text


def verdicts(rows):
    return {row.what: row.passed for row in rows}


def test_the_baseline_bar_sees_means_and_sets(bars):
    from napari_medvlsm.core.runs.comparison import ScorePair

    pairs = [ScorePair(score(str(i), 0.8), score(str(i), 0.79)) for i in range(8)]
    pairs += [ScorePair(score(str(i), 0.8, set="b"), score(str(i), 0.65, set="b")) for i in range(2)]
    found = verdicts(bars.against_baseline(pairs))
    # 0.038 lower over cases, 0.08 over sets.
    assert found == {
        "mean over cases: starter - image-only": False, "mean over the 2 sets": False, "a": True, "b": False
    }  # fmt: skip
    assert all(verdicts(bars.against_baseline(pairs[:8])).values())
    absent = [ScorePair(replace(p.first, present=False), replace(p.second, present=False, dice=0.0)) for p in pairs]
    assert verdicts(bars.against_baseline([*pairs[:8], *absent])) == verdicts(bars.against_baseline(pairs[:8]))


def test_the_side_bar_needs_the_wrong_side_to_be_wrong(bars):
    def lungs(case, right, wrong):
        asked_of = {"target": "left lung", "level": "p1"}
        return [
            score(case, right, prompt="left lung", **asked_of),
            score(case, wrong, kind="other", prompt="right lung", **asked_of),
            score(case, 0.9, kind="other", prompt="airways", **asked_of),
        ]

    good = bars.right_against_wrong([*lungs("x", 0.9, 0.1), *lungs("y", 0.9, 0.2)])
    assert verdicts(good) == {"a: left against right lung": True, "a: left lung, not airways": None}
    assert good[0].found.cases == 2 and good[0].found.mean == pytest.approx(0.75)
    assert not bars.right_against_wrong(lungs("x", 0.9, 0.6))[0].passed
    assert not bars.right_against_wrong([score()])[0].passed  # what was not measured is not passed


def test_the_bars_of_paraphrases_and_of_what_is_absent(bars):
    named = [score(c, 0.9, level="p1") for c in "xy"]
    said = [
        score(c, d, level="p1", kind="paraphrase", prompt=t) for t, d in (("one", 0.88), ("two", 0.86)) for c in "xy"
    ]
    assert verdicts(bars.paraphrased([*named, *said])) == {
        "a: all paraphrases together": None, "a: one": True, "a: two": False
    }  # fmt: skip
    normal = [score(str(i), 1.0, present=False, predicted_fraction=0.0) for i in range(9)]
    drawn = score("k", 0.0, present=False, predicted_fraction=0.02, kind="absent", target="knee joint")
    assert verdicts(bars.absent([*normal, drawn]))["everything absent"] is True
    assert verdicts(bars.absent([*normal[:8], drawn]))["everything absent"] is False


def test_the_script_from_models_to_verdicts(bars, data, outcome, model_folder, tmp_path, capsys):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(dumped(RECIPE))
    ask = ["--starter", str(outcome[0] / "model"), "--baseline", str(model_folder), "--data", str(data)]
    ask += ["--recipe", str(recipe), "--out", str(tmp_path / "bars"), "--device", "cpu", "--limit", "2"]
    code = bars.main(ask)
    said = capsys.readouterr()
    assert code == (1 if "Missed" in said.out else 0) and "elsewhere" not in said.out
    assert all(f"\n{bar} " in said.out for bar in "abcd") and "left against right lung" in said.out
    assert bars.main(ask) == code and "measured before" in capsys.readouterr().err
