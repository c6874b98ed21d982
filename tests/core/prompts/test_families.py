import re
from importlib import resources

import pytest
import yaml

from napari_medvlsm.core.prompts import ATTRIBUTES, LABELS, LEVELS, load_families, load_vocabulary
from napari_medvlsm.core.prompts.upstream import load_datasets

FAMILIES = load_families()
# Names that a form may hold beside those of attributes.
GRAMMAR = {"target", "targets", "be", "be_findings", "regularity"}


def test_every_file_is_a_family_and_the_generic_one_comes_first():
    folder = resources.files("napari_medvlsm") / "data" / "prompts" / "families"
    assert {entry.name for entry in folder.iterdir()} == {f"{name}.yaml" for name in FAMILIES}
    assert next(iter(FAMILIES)) == "photographic"


@pytest.mark.parametrize("path", (resources.files("napari_medvlsm") / "data" / "prompts").rglob("*.yaml"), ids=str)
def test_every_file_is_yaml_of_text(path):
    content = yaml.safe_load(path.read_text("utf-8"))

    def leaves(value):
        if isinstance(value, dict):
            return [leaf for k, v in value.items() for leaf in (k, *leaves(v))]
        return [leaf for v in value for leaf in leaves(v)] if isinstance(value, list) else [value]

    # "no" and "1.0" without quotation marks are no text in YAML.
    assert {type(leaf) for leaf in leaves(content)} <= {str, bool}
    assert all(leaf is True for leaf in leaves(content) if isinstance(leaf, bool))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_levels_and_forms_hold_together(family):
    assert set(family.attributes) <= set(ATTRIBUTES) and set(family.words) <= set(family.attributes)
    assert list(family.levels) == [f"p{i + 1}" for i in range(len(family.levels))]
    assert set(family.upstream) == {"p0", *family.levels}
    assert family.levels["p1"] == frozenset()
    assert frozenset().union(*family.levels.values()) == frozenset(family.attributes)
    clean, *paraphrases = family.clean
    assert {slot for slot in clean.slots if slot not in GRAMMAR} == set(family.attributes)
    for form in paraphrases:
        assert {slot.replace("regularity", "tumor_type") for slot in form.slots} - GRAMMAR == set(family.attributes)
    for level in family.levels:
        for form in family.upstream_forms(level):
            said = {slot.replace("regularity", "tumor_type") for slot in form.slots - {"target", "targets"}}
            assert said == family.levels[level]
            assert form.slots & {"target", "targets"}, "a text of upstream would be read without its target"
    assert family.clean_absent.slots == {"target"}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_simplest_level_says_what_is_asked_for(family):
    assert family.level_of(frozenset()) == "p1"
    assert family.levels[family.richest] == max(family.levels.values(), key=len)
    for level, names in family.levels.items():
        found = family.level_of(names)
        assert names <= family.levels[found] and LEVELS.index(found) <= LEVELS.index(level)
    # What the family cannot say asks for nothing.
    assert family.level_of(frozenset(ATTRIBUTES) - frozenset(family.attributes)) == "p1"


def test_of_levels_that_hold_everything_the_one_that_says_least_is_the_simplest():
    assert FAMILIES["photographic"].level_of(frozenset({"general", "location"})) == "p9"
    assert FAMILIES["chest_xray"].level_of(frozenset({"findings"})) == "p6"
    # P6 of the X-rays says the findings alone; all of it is P5.
    assert FAMILIES["chest_xray"].richest == "p5"
    assert FAMILIES["chest_xray"].level_of(frozenset({"findings", "shape"})) == "p5"


def test_levels_in_words():
    photographic = FAMILIES["photographic"]
    assert photographic.explain("p0") == "no words at all"
    assert photographic.explain("p1") == "name only"
    assert photographic.explain("p2") == "name and shape"
    assert photographic.explain("p6") == "name, number, size, shape, colour and place in the image"
    assert FAMILIES["chest_xray"].explain("p6") == "name and other findings"
    assert set(LABELS) == set(ATTRIBUTES)


def test_data_sets_have_a_family_and_targets_of_the_vocabulary():
    datasets, vocabulary = load_datasets(), load_vocabulary()
    assert len(datasets) == 11
    for dataset in datasets.values():
        assert dataset.targets
        for target in dataset.targets:
            assert vocabulary.targets[target].family == dataset.family.name
    for family in FAMILIES.values():
        assert set(family.upstream_names) <= {t for d in datasets.values() for t in d.targets}


def test_descriptions_of_upstream_have_a_clean_one_each():
    vocabulary = load_vocabulary()
    for dataset in load_datasets().values():
        if dataset.general:
            assert "general" in dataset.family.attributes
            for target in dataset.targets:
                assert len(vocabulary.targets[target].general) == len(dataset.general) == 5


def test_the_clean_words_are_free_of_upstreams_slips():
    slips = re.compile(
        r"mucuos|abnormailty|\bresemble\b|a bumpy flesh|Xray|in foot|of colon\b|in rectum|end of the \w+ cycle"
    )
    upstream = (resources.files("napari_medvlsm") / "data" / "datasets").joinpath("dfu.yaml")
    assert slips.search(upstream.read_text("utf-8")), "the search finds nothing anywhere"
    for target in load_vocabulary().targets.values():
        assert not any(slips.search(words) for words in (*target.general, *target.names, *target.shapes))
    for family in FAMILIES.values():
        assert not any(slips.search(form.template) for form in (*family.clean, family.clean_absent))
