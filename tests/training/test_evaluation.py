"""`medvlsm evaluate` and `medvlsm table`: data, prompts, numbers, comparison and tables."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medvlsm_training.config import INTERFACE, UPSTREAM
from medvlsm_training.evaluation.data import read_data
from medvlsm_training.evaluation.measure import measure, nearest
from medvlsm_training.evaluation.prompts import EvaluationPrompts, evaluation_prompts
from medvlsm_training.evaluation.resume import ResumeState
from medvlsm_training.evaluation.run import evaluate_sets
from medvlsm_training.evaluation.table import cross_table, paper_tables, trained_as
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.cli import main
from napari_medvlsm.core.datasets.catalogue import published
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.runs.comparison import compare, pair_up
from napari_medvlsm.core.runs.prompt_kinds import PromptKind
from napari_medvlsm.core.runs.results import About, MeasuredSet, Results, read_results
from napari_medvlsm.core.runs.scores import Measurements, Score, read_scores
from napari_medvlsm.core.runs.summary import contrasts, summarise
from napari_medvlsm.core.upsampling import to_scan_size

VOCABULARY = load_vocabulary()
SAMPLE = json.loads((Path(__file__).parents[1] / "core" / "data" / "annotations_sample.json").read_text())["items"]
ALL_KINDS = (PromptKind.CLASS, PromptKind.ORACLE, PromptKind.WRONG_SIDE, PromptKind.WRONG_SIZE)


def picture(path, rng, box=None, size=(40, 60)):
    """A noisy image and its mask, a rectangle (row0, col0, row1, col1) or nothing."""
    mask = np.zeros(size, np.uint8)
    if box:
        mask[box[0] : box[2], box[1] : box[3]] = 255
    image = rng.integers(0, 99, size, dtype=np.uint8) + mask // 2
    Image.fromarray(image).save(path[0])
    Image.fromarray(mask).save(path[1])


def upstream_set(root, name, items, rng):
    """A folder in upstream's layout from items of upstream; those of number zero get an empty mask."""
    for part in ("images", "masks", "anns"):
        (root / name / part).mkdir(parents=True)
    written = []
    for i, item in enumerate(items):
        image, mask = f"{i}.png", f"{i}_mask.png"
        absent = "No " in str(item["prompts"]["p1"])
        picture((root / name / "images" / image, root / name / "masks" / mask), rng, None if absent else (3, 5, 12, 22))
        written.append(item | {"img_name": image, "mask_name": mask})
    (root / name / "anns" / "test.json").write_text(json.dumps(written))
    return root / name


@pytest.fixture
def busi(tmp_path, rng):
    absent = [i for i in SAMPLE["busi"] if "No " in str(i["prompts"]["p1"])]
    shown = [i for i in SAMPLE["busi"] if "No " not in str(i["prompts"]["p1"])]
    return upstream_set(tmp_path, "busi", [*shown[:3], *absent[:1]], rng)


@pytest.fixture
def polyps(tmp_path, rng):
    folder = upstream_set(tmp_path, "clinicdb_polyp", SAMPLE["clinicdb_polyp"][:4], rng)
    (folder / "sequences.csv").write_text("image,sequence\n0.png,1\n1.png,1\n2.png,2\n3.png,2\n")
    return folder


@pytest.fixture
def chest(tmp_path, rng):
    folder = tmp_path / "chest"
    for part in ("images", "masks", "splits"):
        (folder / part).mkdir(parents=True)
    rows = ["image,mask,target"]
    for i in range(2):
        for target, box in (("left lung", (5, 35, 30, 50)), ("right lung", (5, 8, 30, 22))):
            mask = f"{i}_{target.split()[0]}.png"
            picture((folder / "images" / f"{i}.png", folder / "masks" / mask), rng, box)
            rows.append(f"{i}.png,{mask},{target}")
    (folder / "targets.csv").write_text("\n".join(rows))
    (folder / "splits" / "test.txt").write_text("0.png\n1.png\n\n")
    return folder


SCORE = Score(
    set="busi",
    split="test",
    case="a",
    image="a",
    group="a",
    target="breast tumor",
    kind="class",
    level="p1",
    wording="interface",
    prompt="breast tumor",
    size="model",
    present=True,
    dice=0.5,
    iou=0.4,
    precision=0.5,
    recall=0.5,
    hd95=3.0,
    nsd=0.5,
    unit="px",
    predicted_fraction=0.1,
)


def score(**more):
    return replace(SCORE, **more)


def test_cases_know_their_video_patient_or_image(polyps, busi, chest, tmp_path):
    videos = read_data(polyps, "test", VOCABULARY)
    assert (
        videos.grouped_by == "sequence" and [c.group for c in videos.cases] == ["sequence 1"] * 2 + ["sequence 2"] * 2
    )
    assert read_data(busi, "test", VOCABULARY).grouped_by == "image"
    lists = read_data(chest, "test", VOCABULARY)
    assert [c.target for c in lists.cases] == ["left lung", "right lung"] * 2 and lists.grouped_by == "image"
    assert len(read_data(chest, "test", VOCABULARY, ["left lung"]).cases) == 2
    for name in ("0", "1"):
        (chest / "images" / f"{name}.png").rename(chest / "images" / f"patient7_{name}.png")
    for name in ("targets.csv", "splits/test.txt"):
        text = (chest / name).read_text()
        (chest / name).write_text(text.replace("0.png", "patient7_0.png").replace("1.png", "patient7_1.png"))
    patients = read_data(chest, "test", VOCABULARY)
    assert patients.grouped_by == "patient" and {c.group for c in patients.cases} == {"patient 7"}


def test_hash_sees_data_and_faults_give_a_sentence(busi, chest, tmp_path):
    before = read_data(busi, "test", VOCABULARY)
    assert len(before.sha256) == 64 and before.sha256 == read_data(busi, "test", VOCABULARY).sha256
    (busi / "images" / "0.png").unlink()
    after = read_data(busi, "test", VOCABULARY)
    assert after.missing == 1 and after.sha256 != before.sha256
    for folder, split, words in (
        (busi, "dev", "it has test"),
        (chest, "dev", "it has test"),
        (tmp_path, "x", "anns|pa"),
    ):
        with pytest.raises(ValueError, match=words):
            read_data(folder, split, VOCABULARY)
    (chest / "targets.csv").unlink()
    with pytest.raises(ValueError, match="--target"):
        read_data(chest, "test", VOCABULARY)


def test_mask_outside_the_folder_is_a_missing_file(busi):
    items = json.loads((busi / "anns" / "test.json").read_text())
    items[0]["mask_name"] = "../../secret.png"
    (busi.parent / "secret.png").write_bytes(b"x")
    (busi / "anns" / "test.json").write_text(json.dumps(items))
    assert read_data(busi, "test", VOCABULARY).missing == 1


def asked(data, case, **more):
    prompts = EvaluationPrompts(ALL_KINDS, **more)
    return {
        (q.kind, q.level): q.text
        for q in evaluation_prompts(case, case.load_mask(), prompts, VOCABULARY, data.paper_dataset)
    }


def located(case, place):
    """The case as if its annotation said another place."""
    return replace(case, annotation=replace(case.annotation, upstream=replace(case.upstream, location=place)))


def test_prompts_by_what_they_know(polyps):
    data = read_data(polyps, "test", VOCABULARY)
    case = data.cases[0]
    theirs = asked(data, case, wording=UPSTREAM, levels=("p0", "p1", "p6"))
    assert theirs[PromptKind.CLASS, "p1"] == "polyp" and theirs[PromptKind.ORACLE, "p0"] == ""
    assert theirs[PromptKind.ORACLE, "p6"] == case.prompts["p6"]
    clean = asked(data, case, wording=INTERFACE)
    assert clean[PromptKind.CLASS, "p1"] == "polyp" and "located in the" in clean[PromptKind.ORACLE, "p6"]
    for texts in (theirs, clean):
        assert texts[PromptKind.WRONG_SIZE, "p6"] != texts[PromptKind.ORACLE, "p6"]
    assert (PromptKind.WRONG_SIZE, "p1") not in theirs
    left = located(case, "top left")
    assert "located in the bottom right of the image" in asked(data, left)[PromptKind.WRONG_SIDE, "p6"]
    assert (PromptKind.WRONG_SIDE, "p4") not in asked(data, left, levels=("p4",))
    middle = located(case, "center")
    assert (PromptKind.WRONG_SIDE, "p6") not in asked(data, middle)


def test_class_prompts_never_tell_that_nothing_is_there(busi):
    data = read_data(busi, "test", VOCABULARY)
    shown, absent = data.cases[0], data.cases[-1]
    theirs = asked(data, absent, wording=UPSTREAM, levels=("p1",))
    assert theirs[PromptKind.CLASS, "p1"] == asked(data, shown, wording=UPSTREAM)[PromptKind.CLASS, "p1"]
    assert "No tumor" in theirs[PromptKind.ORACLE, "p1"]
    assert asked(data, absent)[PromptKind.CLASS, "p1"] == "breast tumor" == asked(data, absent)[PromptKind.ORACLE, "p6"]


def test_lists_of_sentences_and_random_levels_are_drawn_by_seed(polyps):
    data = read_data(polyps, "test", VOCABULARY)
    drawn = [[asked(data, c, wording=UPSTREAM, levels=("p9", "random"), seed=s) for c in data.cases] for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0][PromptKind.ORACLE, "p9"] in data.cases[0].prompts["p9"]


def test_sets_without_annotations_take_oracle_attributes_from_the_mask(chest):
    data = read_data(chest, "test", VOCABULARY)
    texts = asked(data, data.cases[0], levels=("p6", "p4"))
    assert texts[PromptKind.CLASS, "p1"] == "left lung"
    assert len(texts) > 1 and all("left lung" in text for text in texts.values())


def test_what_an_annotation_file_says_is_asked_to_the_letter(tmp_path, rng):
    items = [dict(i) for i in SAMPLE["clinicdb_polyp"][:2]]
    for item in items:
        item["prompts"] = {"p0": "", "p1": "le polype", "p6": ["un gros polype", "un polype rose"]}
    data = read_data(upstream_set(tmp_path, "chez_nous", items, rng), "test", VOCABULARY)
    case = data.cases[0]
    assert data.paper_dataset is None and case.prompts["p1"] == "le polype"
    for kinds, wording in (
        ((PromptKind.ANNOTATED,), INTERFACE),
        ((PromptKind.ORACLE, PromptKind.WRONG_SIZE), UPSTREAM),
    ):
        wanted = EvaluationPrompts(kinds, ("p1", "p6", "random"), wording)
        texts = evaluation_prompts(case, case.load_mask(), wanted, VOCABULARY)
        assert [(t.kind, t.level) for t in texts] == [(kinds[0], level) for level in ("p1", "p6", "random")]
        assert texts[0].text == "le polype" and texts[1].text in items[0]["prompts"]["p6"]


def test_a_recipe_is_measured_at_the_level_that_it_trains():
    assert load_recipe("paper/clinicdb_polyp").measured_levels == ("p5",)
    assert load_recipe("paper/clinicdb_polyp", ["prompts.mix={p1: 1}"]).measured_levels == ("p1",)
    assert load_recipe("paper/pooled").measured_levels == ("random",)
    assert load_recipe("best/busi").measured_levels == ("p6",)
    assert load_recipe("best/busi", ["measure.levels=[p2]"]).measured_levels == ("p2",)


def test_evaluation_prompts_are_checked():
    with pytest.raises(ValueError, match="p12"):
        EvaluationPrompts(levels=("p12",))
    with pytest.raises(ValueError, match="--prompt"):
        EvaluationPrompts((PromptKind.TYPED,))


def test_the_wordings_name_of_the_version_before_is_read(polyps, model_folder, tmp_path, capsys):
    words = ["evaluate", str(polyps), "--model", str(model_folder), "--device", "cpu", "--wording", "release"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "--wording release is now called upstream" in capsys.readouterr().err
    assert read_results(tmp_path / "out").about.wording == "upstream"


def test_nearest_keeps_every_second_pixel_of_a_checkered_mask():
    mask = np.zeros((4, 8), bool)
    mask[:, 4:] = True
    assert nearest(mask, 4).tolist() == [[False, False, True, True]] * 4


def test_numbers_are_those_of_the_segmenter(polyps, small_clipseg, small_card):
    data = read_data(polyps, "test", VOCABULARY)
    segmenter = Segmenter(small_clipseg, small_card, "cpu")
    found = measure(segmenter, data, EvaluationPrompts(), VOCABULARY, 0.5)
    assert len(found.scores) == 8 and {s.size for s in found.scores} == {"model", "original"}
    case = data.cases[1]
    segmenter.set_image(np.asarray(Image.open(case.image)))
    (answer,) = segmenter.segment("polyp")
    (original,) = (s for s in found.scores if s.case == data.label(case).case and s.size == "original")
    assert original.dice == dice(answer.mask(0.5), case.load_mask()) and original.unit == "px"
    (small,) = (s for s in found.scores if s.case == data.label(case).case and s.size == "model")
    # The small model answers on half its square.
    wide = to_scan_size(torch.from_numpy(answer.logits), (64, 64))
    assert small.dice == dice(wide >= 128, nearest(case.load_mask(), 64))
    counted = found.calibration["clinicdb_polyp", "class", "p1", "original"]
    assert counted.pixels.sum() == 4 * 40 * 60 and counted.true.sum() == 4 * 9 * 17


def test_empty_masks_count_in_the_mean_and_apart():
    scores = [
        score(case="a", image="a", dice=0.8),
        score(case="b", group="b", dice=0.0, predicted_fraction=0, hd95=math.nan, precision=math.nan),
        score(case="c", group="c", present=False, dice=1.0, predicted_fraction=0, hd95=math.nan),
        score(case="d", group="d", present=False, dice=0.0, predicted_fraction=0.004, hd95=math.nan),
        score(case="e", group="e", present=False, dice=0.0, predicted_fraction=0.2, hd95=math.nan),
    ]
    (row,) = summarise(scores)
    assert row["dice"]["mean"] == pytest.approx(1.8 / 5) and row["dice_present"]["mean"] == pytest.approx(0.4)
    assert (row["cases"], row["present"], row["absent"], row["missed"]) == (5, 2, 3, 1)
    assert row["false_positive_rate"] == pytest.approx(1 / 3) and row["any_false_positive_rate"] == pytest.approx(2 / 3)
    assert row["hd95_px"]["cases"] == 1 and row["precision"]["cases"] == 4


def test_targets_and_units_are_never_mixed():
    scores = [score(), score(case="b", group="b", target="other", unit="mm", hd95=9.0)]
    rows = {row["target"]: row for row in summarise(scores)}
    assert list(rows) == ["all targets", "breast tumor", "other"]
    assert rows["all targets"]["hd95_px"]["mean"] == 3 and rows["all targets"]["hd95_mm"]["mean"] == 9


def test_wrong_attributes_are_held_against_the_right_ones_of_the_same_cases():
    scores = [score(case=c, group=c, kind="oracle", level="p6", dice=d) for c, d in (("a", 0.9), ("b", 0.1))]
    scores.append(score(kind="wrong side", level="p6", dice=0.7))
    (row,) = contrasts(scores)
    assert row["first"] == 0.9 and row["difference"]["mean"] == pytest.approx(-0.2) and row["losses"] == 1


ABOUT = About(
    model="m",
    title="Model",
    family="clipseg",
    weights="ab" * 32,
    trained_on=("busi",),
    threshold=0.5,
    threshold_from="the model's card",
    tolerance=2.0,
    wording="upstream",
    seed=0,
    software="1",
    torch="2",
    device="cpu",
    precision="float32",
)


def results(about=ABOUT, scores=None, split="test"):
    rows = summarise(scores or [score(), score(case="b", group="b", dice=0.7)])
    facts = MeasuredSet(split, "cd" * 32, 2, 0, "image")
    return Results(Path("here"), about, {row["set"]: facts for row in rows}, tuple(rows))


def test_published_numbers_are_whole():
    table = published()
    assert len(table["table_2"]["sets"]) == 11 and all(len(r["dice"]) == 11 for r in table["table_2"]["rows"])
    cris = next(r for r in table["table_2"]["rows"] if (r["trained_on"], r["model"]) == ("endoscopy pooled", "CRIS"))
    assert cris["dice"][:6] == [91.25, 92.94, 92.35, 90.42, 81.0, 79.67]
    assert len(table["zero_shot"]["rows"]) == 22 and len(table["fine_tuned"]["rows"]) == 31
    assert all("source" in part for part in table.values())


def test_training_is_named_as_in_the_paper():
    kinds = {
        (): "zero-shot",
        ("busi",): "individual",
        ("clinicdb_polyp", "kvasir_polyp", "bkai_polyp"): "endoscopy pooled",
    }
    assert {seen: trained_as(replace(ABOUT, trained_on=seen), "busi") for seen in kinds} == kinds
    assert trained_as(ABOUT, "isic") == "" == trained_as(replace(ABOUT, trained_on=None), "busi")


def test_nothing_measured_is_taken_for_what_other_words_or_rules_would_give(polyps, tmp_path):
    state = ResumeState(tmp_path / "out.unfinished", ABOUT, EvaluationPrompts())
    before = read_data(polyps, "test", VOCABULARY)
    state.save(before, Measurements())
    assert state.load(read_data(polyps, "test", VOCABULARY)) is not None

    lists = polyps / "anns" / "test.json"
    text = lists.read_text()
    lists.write_text(text.replace("left", "right"))
    changed = read_data(polyps, "test", VOCABULARY)
    assert changed.sha256 == before.sha256 and state.load(changed) is None
    lists.write_text(text)
    (polyps / "sequences.csv").unlink()
    assert state.load(read_data(polyps, "test", VOCABULARY)) is None
    (polyps / "dataset.yaml").write_text("foreground: dark\n")
    inverted = read_data(polyps, "test", VOCABULARY)
    assert inverted.sha256 != before.sha256 and state.load(inverted) is None


ASKED_AS_TRAINED = replace(ABOUT, trained_levels=("p6",), trained_wording="upstream")
ORACLE = {"kind": "oracle", "level": "p6", "wording": "upstream"}


def test_paper_tables_put_ours_below_the_published_and_leave_the_rest_empty():
    scores = [score(**ORACLE), score(**ORACLE, case="b", group="b", dice=0.7)]
    text = paper_tables([results(ASKED_AS_TRAINED, scores), results(replace(ABOUT, trained_on=("a", "b")))])
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| individual | CLIPSeg | published"))
    assert "| 64.32 |" in lines[first]
    cells = [cell.strip() for cell in lines[first + 1].strip("|").split("|")]
    assert cells[2] == "ours" and cells[12].startswith("60.0 (") and cells[12].endswith("[1]")
    assert not any(cells[3:12]) and not cells[13]
    assert sum("60.0 (" in line for line in lines) == 2 and "[2] on busi" in text  # Table 2, and P6 fine-tuned
    assert "22 of the 386 training images" in text
    assert "weights abababababab" in text and "data cdcdcdcdcdcd" in text and "threshold 0.5" in text


@pytest.mark.parametrize(
    ("about", "asked"),
    [
        ({}, {"kind": "class", "level": "p1"}),  # asked by the name
        ({}, {"level": "p1"}),
        ({}, {"wording": "interface"}),
        ({"trained_levels": ("p1",)}, {}),
        ({"trained_levels": ("p6", "p1")}, {}),
        ({"trained_levels": None}, {}),
        ({"trained_wording": "interface"}, {}),
    ],
)
def test_a_cell_is_filled_only_by_what_was_trained_and_asked_as_it_says(about, asked):
    text = paper_tables([results(replace(ASKED_AS_TRAINED, **about), [score(**ORACLE | asked)])])
    assert "| 50.0" not in text and "[1]" in text


def test_an_image_only_model_fills_its_cells_whatever_the_words():
    about = replace(ABOUT, family="image-only", architecture="unet++")
    (line,) = [line for line in paper_tables([results(about, [score()])]).splitlines() if "| 50.0" in line]
    assert line.startswith("|  |  | ours |")


def test_validation_numbers_never_fill_a_table_of_test_numbers():
    text = paper_tables([results(split="val")])
    assert "60.0 (" not in text and "[1] on busi (split val)" in text


def test_cross_table_marks_sets_that_were_not_trained_on():
    elsewhere = results(scores=[score(set="isic"), score(set="busi")])
    text = cross_table([elsewhere], size="model")
    row = next(line for line in text.splitlines() if line.startswith("| Model"))
    assert row.count("50.0") == 2 and row.count("*") == 1
    assert "3.0 px" in cross_table([elsewhere], "hd95", "model")


def test_the_command_from_data_to_tables(polyps, busi, model_folder, tmp_path, capsys):
    out, other = tmp_path / "results" / "a", tmp_path / "results" / "b"
    run = ["evaluate", str(polyps), str(busi), "--model", str(model_folder), "--device", "cpu"]
    more = ["--kinds", "class", "oracle", "wrong", "--prompt", "small pink polyp"]
    assert main([*run, *more, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "intervals by sequence" in said and "wrong size against the right words" in said and "weights" in said
    found, scores = read_results(out), read_scores(out)
    assert {row["kind"] for row in found.rows} >= {"class", "typed", "oracle", "wrong size"}
    assert found.about.threshold_from == "the model's card" and found.about.trained_on is None
    with (out / "cases.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["weights"] == found.about.weights and row["data"] == found.sets["clinicdb_polyp"].sha256
    whole = next(r for r in found.rows if (r["set"], r["kind"], r["size"]) == ("busi", "class", "original"))
    same = [s.dice for s in scores if (s.set, s.kind, s.size) == ("busi", "class", "original")]
    assert whole["dice"]["mean"] == pytest.approx(np.mean(same), abs=1e-6) and whole["absent"] == 1
    assert main([*run, *more, "--out", str(out)]) == 2 and "--replace" in capsys.readouterr().err

    assert main([*run, *more, "--threshold", "0.6", "--out", str(other), "--trained-on", "busi"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "compare", str(out), str(other), "--out", str(tmp_path / "pairs.csv")]) == 0
    assert "wins/losses/ties" in capsys.readouterr().out
    with (tmp_path / "pairs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(scores)
    assert main(["table", str(out.parent)]) == 0
    assert "| clinicdb_polyp | busi |" in capsys.readouterr().out
    assert main(["table", str(out.parent), "--against", "paper", "--out", str(tmp_path / "table.md")]) == 0
    assert "[2]" in (tmp_path / "table.md").read_text()


def test_comparison_by_case_and_refusal_of_other_cases(polyps, busi, model_folder, tmp_path):
    def made(name, *folders, **more):
        sets = [read_data(folder, "test", VOCABULARY) for folder in folders]
        evaluate_sets(str(model_folder), sets, tmp_path / name, device="cpu", **more)
        return tmp_path / name

    first, second = made("a", polyps), made("b", polyps, threshold=0.0)
    rows = compare(pair_up(first, second))
    mine, theirs = ([s.dice for s in read_scores(f) if s.size == "model"] for f in (first, second))
    found = next(row.found for row in rows if row.size == "model")
    assert found.difference.mean == pytest.approx(np.mean(theirs) - np.mean(mine)) and found.difference.groups == 2
    assert found.wins + found.losses + found.ties == 4
    with pytest.raises(ValueError, match="hd95, nsd, but not 'area'"):
        compare([], "area")
    with pytest.raises(ValueError, match="holds no results on"):
        pair_up(first, made("c", busi))
    with pytest.raises(ValueError, match="for example"):
        pair_up(first, made("d", polyps, prompts=EvaluationPrompts((PromptKind.ORACLE,))))
    Image.new("L", (60, 40), 9).save(polyps / "images" / "0.png")
    with pytest.raises(ValueError, match="other data"):
        pair_up(first, made("e", polyps))
    with pytest.raises(ValueError, match="no result"):
        made("clinicdb_polyp", polyps)
    with pytest.raises(ValueError, match="between 0 and 1"):
        made("f", polyps, threshold=2)
    with pytest.raises(ValueError, match="no results"):
        pair_up(first, tmp_path)
