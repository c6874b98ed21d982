"""Which prompts are sampled: how often, from what is known, and determined by the seed."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medvlsm_training.config import PromptConfig
from medvlsm_training.prompting import Prompter, shown_targets
from napari_medvlsm.core.datasets.items import Item, TargetMask
from napari_medvlsm.core.prompts import Attributes, Modality, load_vocabulary

SAMPLE = json.loads((Path(__file__).parents[1] / "core" / "data" / "annotations_sample.json").read_text("utf-8"))[
    "items"
]
VOCABULARY = load_vocabulary()
DRAWS = 1000
# Three deviations of the commonest part of so many draws.
NEAR = 0.047
TARGETS = ("polyp", "skin melanoma", "left atrium cavity", "myocardium")


def mask_at(row, col, radius, size=60):
    y, x = np.mgrid[:size, :size]
    return (y - row) ** 2 + (x - col) ** 2 <= radius**2


def item(*names, modality="endoscopy", prompts=None, **words):
    masks = {
        name: TargetMask((Path(f"{name}.png"),), f"{name}.png", Attributes(name, **words), prompts or {})
        for name in names
    }
    return Item(Path("scan.png"), masks, modality, "made")


# One small pink polyp in the top left.
POLYP = item("polyp", color="pink", shape="round")
TOP_LEFT = {"polyp": mask_at(9, 9, 5)}


def sampled(what=POLYP, masks=TOP_LEFT, draws=DRAWS, seed=1, targets=TARGETS, **config):
    prompter, rng = Prompter(PromptConfig(**config), VOCABULARY, targets), np.random.default_rng(seed)
    return [prompt for _ in range(draws) for prompt in prompter.sample(what, masks, rng)]


def part(prompts, of):
    return sum(map(of, prompts)) / len(prompts)


def test_kinds_come_as_often_as_their_weights_say():
    found = Counter(p.text for p in sampled(mix={"p0": 1, "p1": 2, "typed": 5}, typed="the lump"))
    assert set(found) == {"", "polyp", "the lump"}
    for text, share in (("", 1 / 8), ("polyp", 2 / 8), ("the lump", 5 / 8)):
        assert abs(found[text] / DRAWS - share) < NEAR


def test_a_seed_gives_the_same_prompts_again():
    config = {
        "mix": {"random": 1, "synonym": 1, "attributes": 1},
        "absent": 0.2,
        "wrong": 0.2,
        "attribute_dropout": 0.5,
    }
    assert sampled(draws=50, **config) == sampled(draws=50, **config) != sampled(draws=50, seed=2, **config)


def test_synonyms_are_the_vocabularys():
    assert {p.text for p in sampled(draws=100, mix={"synonym": 1})} == set(VOCABULARY.target("polyp").synonyms)


def test_a_level_says_what_is_known():
    (found,) = {p.text for p in sampled(draws=20, mix={"p6": 1})}
    assert found == "one small pink round polyp, located in the top left of the image"


def test_random_is_every_level_but_the_empty():
    texts = {p.text for p in sampled(mix={"random": 1})}
    assert {"polyp", "round polyp", "pink round polyp", "small pink round polyp"} < texts and "" not in texts
    assert any("which is" in text for text in texts)


@pytest.mark.parametrize(("dropout", "low", "high"), [(0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.3, 0.7 - NEAR, 0.7 + NEAR)])
def test_attributes_are_left_out_as_often_as_asked(dropout, low, high):
    prompts = sampled(mix={"attributes": 1}, attribute_dropout=dropout)
    for word in ("one ", "small", "pink", "round", "top left"):
        assert low <= part(prompts, lambda p, word=word: word in p.text) <= high
    assert all("polyp" in p.text and p.target == "polyp" for p in prompts)


def test_what_is_absent_is_asked_for_at_its_rate_and_nothing_is_to_be_sampled():
    prompts = sampled(mix={"p1": 1}, absent=0.3, absent_same=0.25)
    none = [p for p in prompts if p.target is None]
    assert abs(len(none) / DRAWS - 0.3) < NEAR
    same = VOCABULARY.modalities["endoscopy"].absent
    others = {n for t in TARGETS if t != "polyp" for n in (t, *VOCABULARY.target(t).synonyms)}
    assert {p.text for p in none} <= {*same, *others} and others & {p.text for p in none}
    assert abs(part(none, lambda p: p.text in same) - 0.25) < 0.08
    assert {(p.text, p.target) for p in prompts if p.target} == {("polyp", "polyp")}


def test_negatives_wait_for_their_epoch():
    config = PromptConfig(mix={"p6": 1}, absent=0.4, wrong=0.4, negatives_start_epoch=3)
    prompter, rng = Prompter(config, VOCABULARY, TARGETS), np.random.default_rng(1)
    targets = [
        [p.target for _ in range(50) for p in prompter.sample(POLYP, TOP_LEFT, rng, epoch)] for epoch in range(5)
    ]
    assert all(set(found) == {"polyp"} for found in targets[:3])
    assert all(0.6 < found.count(None) / 50 < 0.95 for found in targets[3:])


def test_a_run_on_one_kind_of_scan_has_its_absent_targets_too():
    none = {p.text for p in sampled(mix={"p1": 1}, absent=0.5, targets=("polyp",)) if p.target is None}
    assert none == set(VOCABULARY.modalities["endoscopy"].absent)


def test_wrong_words_contradict_the_mask_and_nothing_is_to_be_sampled():
    prompts = sampled(mix={"p6": 1}, wrong=0.4)
    wrong = [p for p in prompts if p.target is None]
    assert abs(len(wrong) / DRAWS - 0.4) < NEAR
    assert all(("bottom right" in p.text) != ("large" in p.text) for p in wrong)
    assert not any("top left" in p.text or "small" in p.text for p in wrong)
    assert abs(part(wrong, lambda p: "large" in p.text) - 0.5) < 0.08


def test_no_wrong_word_where_there_is_no_opposite():
    # Heart ultrasound's prompts say neither side nor size.
    heart = item("myocardium", modality="heart ultrasound")
    assert all(p.target == "myocardium" for p in sampled(heart, {"myocardium": mask_at(9, 9, 5)}, 200, wrong=0.9))
    # In the middle of the image there is a size to be wrong about, and no side.
    middle = sampled(masks={"polyp": mask_at(30, 30, 5)}, draws=200, mix={"p1": 1}, wrong=0.5)
    assert all("large" in p.text and "located" not in p.text for p in middle if p.target is None)


def test_an_empty_mask_is_asked_for_by_its_name():
    nothing = {"polyp": np.zeros((60, 60), bool)}
    found = sampled(masks=nothing, draws=100, mix={"p6": 1, "attributes": 1}, wrong=0.5)
    assert {(p.text, p.target) for p in found} == {("polyp", "polyp")}


def test_templates_hold_their_part_of_the_prompts_but_no_wrong_ones():
    prompts = sampled(mix={"p1": 1}, templates=("outline the {}", "a {}."), template_prob=0.5, absent=0.2)
    assert abs(part(prompts, lambda p: p.text.startswith(("outline the ", "a "))) - 0.5) < NEAR
    assert {p.text for p in prompts if p.target} == {"polyp", "outline the polyp", "a polyp."}


def test_nonsense_stands_around_templates_and_names_what_is_absent():
    prompts = sampled(mix={"p1": 1}, templates=("a {}.",), template_prob=0.5, nonsense_prob=0.4)
    assert {p.target for p in prompts} == {"polyp"} and all("polyp" in p.text for p in prompts)
    assert abs(part(prompts, lambda p: p.text == "polyp") - 0.5) < NEAR
    for place in (0, 1):
        words = [p.text.split("a polyp.")[place].split() for p in prompts if "a polyp." in p.text]
        assert abs(part(words, bool) - 0.4) < 2 * NEAR and max(map(len, words)) == 3
        assert {len(word) for row in words for word in row} == set(range(1, 9))
    none = [p.text for p in sampled(mix={"p1": 1}, absent=0.5, nonsense_prob=0.4) if p.target is None]
    known = {n for t in TARGETS for n in (t, *VOCABULARY.target(t).synonyms)}
    assert abs(part(none, lambda t: t not in {*known, *VOCABULARY.modalities["endoscopy"].absent}) - 0.4) < 2 * NEAR


@pytest.mark.parametrize(("per_image", "each"), [(0, 1), (3, 1), (6, 2), (2, None)])
def test_prompts_go_round_the_masks(per_image, each):
    names = ("polyp", "skin melanoma", "myocardium")
    three = {name: mask_at(9, 9, 5) for name in names}
    for seed in range(20):
        found = Counter(p.target for p in sampled(item(*names), three, 1, seed, mix={"p1": 1}, per_image=per_image))
        assert found == dict.fromkeys(names, each) if each else len(found) == 2


def test_validation_asks_for_each_mask_and_for_one_that_is_not_there():
    names = ("polyp", "skin melanoma")
    both = {name: mask_at(9, 9, 5) for name in names}
    config = PromptConfig(mix={"random": 1}, wrong=0.4, absent=0.3, per_image=5, validation="p1")
    prompter = Prompter(config, VOCABULARY, TARGETS)
    found = prompter.for_validation(item(*names), both, np.random.default_rng(1))
    assert [(p.text, p.target) for p in found[:2]] == [("polyp", "polyp"), ("skin melanoma", "skin melanoma")]
    assert len(found) == 3 and found[2].target is None
    assert found == prompter.for_validation(item(*names), both, np.random.default_rng(1))


@pytest.mark.parametrize("dataset", sorted(SAMPLE))
def test_upstreams_wording_is_that_of_its_annotations_to_the_letter(dataset):
    for entry in SAMPLE[dataset]:
        said = entry["prompts"]
        what = item("polyp", prompts=said)
        for level, given in said.items():
            texts = {given} if isinstance(given, str) else set(given)
            assert {p.text for p in sampled(what, draws=80, mix={level: 1}, wording="upstream")} == texts
        every = {t for k, given in said.items() if k != "p0" for t in ([given] if isinstance(given, str) else given)}
        assert {p.text for p in sampled(what, draws=400, mix={"random": 1}, wording="upstream")} == every


def test_a_level_that_upstream_lacks_is_named():
    what = item("polyp", prompts=SAMPLE["busi"][0]["prompts"])
    with pytest.raises(ValueError, match=r"scan.png \(made\) has no prompt of level p9 .* it has p0, p1, .*interface"):
        sampled(what, draws=1, mix={"p9": 1}, wording="upstream")
    with pytest.raises(ValueError, match="it has none"):
        sampled(draws=1, mix={"random": 1}, wording="upstream")


def test_a_level_that_the_kind_of_scan_lacks_is_named():
    heart = item("myocardium", modality="heart ultrasound")
    with pytest.raises(ValueError, match=r"myocardium has no prompts of level p9; it has p0, p1, .*p7"):
        sampled(heart, {"myocardium": mask_at(9, 9, 5)}, 1, mix={"p9": 1})


def test_a_kind_of_scan_without_a_list_asks_for_targets_of_other_kinds():
    own = {**VOCABULARY.modalities, "abdominal ultrasound": Modality("Abdominal ultrasound")}
    vocabulary = replace(VOCABULARY, modalities=own)
    prompter = Prompter(PromptConfig(absent=0.9), vocabulary, ("gallstone",))
    stone, masks = item("gallstone", modality="abdominal ultrasound"), {"gallstone": mask_at(9, 9, 5)}
    prompts = [p for seed in range(60) for p in prompter.sample(stone, masks, np.random.default_rng(seed))]
    asked = {p.text for p in prompts if p.target is None}
    known = {name for target in VOCABULARY.targets.values() for name in (target.phrase, *target.synonyms)}
    assert len(asked) > 10 and asked <= known
    own["abdominal ultrasound"] = Modality("Abdominal ultrasound", ("womb",))
    prompts = [p for seed in range(60) for p in prompter.sample(stone, masks, np.random.default_rng(seed))]
    assert {p.text for p in prompts if p.target is None} == {"womb"}


@pytest.mark.parametrize(
    ("target", "modality", "never"),
    [
        # The list of such scans says that they cannot show it.
        ("stomach ulcer", "endoscopy", {"stomach ulcer"}),
        # It is known of another kind of scan: by its phrase, by a synonym, in capitals.
        ("foot ulcer", "dermoscopy", {"foot ulcer", "diabetic foot ulcer", "wound", "ulcer"}),
        ("Wound", "dermoscopy", {"foot ulcer", "diabetic foot ulcer", "wound", "ulcer"}),
    ],
)
def test_what_scans_of_the_run_show_is_never_absent(target, modality, never):
    both = [item(target, modality=modality), item("something else", modality=modality)]
    targets, config = [target, "polyp", "breast tumor"], PromptConfig(absent=0.9, absent_same=0.5)
    prompter, rng = Prompter(config, VOCABULARY, targets, shown_targets(both)), np.random.default_rng(3)
    for what in both:
        masks = {name: mask_at(9, 9, 5) for name in what.masks}
        asked = {p.text for _ in range(300) for p in prompter.sample(what, masks, rng) if p.target is None}
        assert len(asked) > 5 and not asked & never


def test_of_an_unknown_kind_of_scan_nothing_is_said_to_be_absent():
    found = sampled(item("polyp", modality=""), draws=50, absent=0.9)
    assert {(p.text, p.target) for p in found} == {("polyp", "polyp")}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mix": {"p77": 1}}, "no kind of prompt 'p77'"),
        ({"validation": "p77"}, "no kind of prompt 'p77'"),
        ({"mix": {"p1": 0}}, "not all be 0"),
        ({"mix": {"p1": -1, "p2": 2}}, "mix.p1\n.*greater than or equal to 0"),
        ({"mix": {"typed": 1}}, "`typed` is empty"),
        ({"per_image": -1}, "per_image\n.*greater than or equal to 0"),
        ({"absent": 1.5}, "absent\n.*less than or equal to 1"),
        ({"absent": 0.5, "wrong": 0.5}, "no prompt would ask for what is there"),
        ({"wording": "upstream", "attribute_dropout": 0.1}, "taken to the letter"),
        ({"wording": "upstream", "mix": {"synonym": 1}}, "taken to the letter"),
        ({"templates": ("outline it",)}, "one '{}' for the prompt"),
    ],
)
def test_what_cannot_be_sampled_is_said(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        PromptConfig(**wrong)
