import re

import pytest

from napari_medvlsm.core.prompts import ATTRIBUTES, load_families, load_vocabulary, normalise
from napari_medvlsm.core.prompts.own_words import OwnWords
from napari_medvlsm.core.prompts.vocabulary import Target

VOCABULARY = load_vocabulary()


def own(tmp_path, **content):
    return load_vocabulary(OwnWords(tmp_path / "words.yaml", content))


@pytest.mark.parametrize("target", VOCABULARY.targets.values(), ids=VOCABULARY.targets)
def test_every_target_is_complete(target):
    assert target.family in load_families() and target.modality in VOCABULARY.modalities
    assert target.plural and target.label and not target.own
    assert re.fullmatch("#[0-9a-f]{6}", target.display_color)
    assert VOCABULARY.find_target(target.phrase) is target and VOCABULARY.target(target.phrase) is target
    assert set(target.shapes) <= set(VOCABULARY.attributes["shape"])
    assert set(target.colors) <= set(VOCABULARY.attributes["color"])
    assert all(text == text.strip() and not text.startswith("which") for text in target.general)
    # Phrases are lower case, as in training.
    assert target.phrase == target.phrase.lower()


def test_colours_on_the_screen_and_names_are_distinct():
    targets = VOCABULARY.targets.values()
    assert len({t.display_color for t in targets}) == len({t.label for t in targets}) == len(targets)
    names = [normalise(name) for t in targets for name in t.names]
    assert len(names) == len(set(names))


def test_scans_with_a_left_and_a_right_of_the_patient_are_lateralised():
    assert {t.modality for t in VOCABULARY.targets.values() if t.lateralised} == {"chest x-ray", "heart ultrasound"}
    for target in VOCABULARY.targets.values():
        assert target.lateralised == (target.modality in ("chest x-ray", "heart ultrasound"))
        assert target.names_a_side == bool(re.match("left|right", target.phrase))
    assert VOCABULARY.targets["left lung"].names_a_side and not VOCABULARY.targets["lungs"].names_a_side


def test_kinds_of_scan_name_what_they_cannot_show():
    for modality in VOCABULARY.modalities.values():
        assert len(modality.absent) >= 3
        shown = {VOCABULARY.targets[name].modality for name in modality.absent if name in VOCABULARY.targets}
        assert modality not in [VOCABULARY.modalities[key] for key in shown]


def test_every_word_of_an_attribute_means_one_thing():
    for attribute, words in VOCABULARY.attributes.items():
        assert attribute in ATTRIBUTES
        meanings = {(normalise(name), word) for word, same in words.items() for name in (word, *same)}
        assert len(meanings) == len({name for name, _ in meanings}), attribute
        for word, same in words.items():
            assert [VOCABULARY.canonical(attribute, name) for name in (word, *same)] == [word] * (len(same) + 1)


def test_words_of_one_kind_of_scan_have_synonyms_only_for_themselves():
    for family in load_families().values():
        for attribute, words in family.words.items():
            known = {w for f in load_families().values() for w in f.words.get(attribute, ())}
            assert set(VOCABULARY.attributes.get(attribute, {})) <= known, attribute
            assert len(set(words)) == len(words)


def test_the_likeliest_words_for_a_target_come_first_and_each_once():
    colors = VOCABULARY.words("color", "foot ulcer")
    assert colors[:3] == ("pink", "brown", "red") and len(colors) == len(set(colors))
    assert set(colors) == set(VOCABULARY.attributes["color"])
    assert VOCABULARY.words("color") == tuple(VOCABULARY.attributes["color"])
    assert VOCABULARY.words("view", "edema") == ("frontal", "lateral")
    assert VOCABULARY.words("view", "myocardium") == ("two-chamber", "four-chamber")
    assert VOCABULARY.words("view", "polyp") == () and VOCABULARY.words("nonsense") == ()


def test_the_target_with_the_longest_name_is_found():
    assert VOCABULARY.find_target("the LEFT  lung-field of a man").phrase == "left lung"
    assert VOCABULARY.find_target("both lungs").phrase == "lungs"
    assert VOCABULARY.find_target("polypoid") is None and VOCABULARY.find_target("") is None


def test_a_target_that_nobody_listed_is_its_own_label():
    target = VOCABULARY.target("spleen of a mouse")
    assert (target.label, target.names, target.family) == ("Spleen of a mouse", ("spleen of a mouse",), "photographic")
    assert VOCABULARY.family("spleen of a mouse").name == "photographic"


def test_words_become_the_interfaces():
    assert VOCABULARY.canonical("color", "Grey") == "gray" and VOCABULARY.canonical("color", "puce") == "puce"
    assert VOCABULARY.canonical("location", "upper left, centre, Middle") == "top left, center"
    assert VOCABULARY.canonical("size", "big, huge") == "large"
    assert VOCABULARY.canonical("age", "Six") == "Six"


def test_names_include_the_plural():
    assert Target("cell", "Cell").names == ("cell", "cells")
    assert Target("ovary", "Ovary", plural="ovaries", synonyms=("gonad",)).names == ("ovary", "ovaries", "gonad")


# A person's own words ----------------------------------------------------------------------------------------------


def test_lists_are_added_and_single_values_replace(tmp_path):
    vocabulary = own(
        tmp_path,
        targets={
            "polyp": {"label": "My polyp", "synonyms": ["adenoma"], "colors": ["pink", "ochre"]},
            "spleen": {"modality": "CT scan", "lateralised": True},
        },
        attributes={"color": {"red": ["scarlet"], "ochre": []}, "cycle": {"mid-systole": []}},
        modalities={"dermoscopy": {"absent": ["hoof"]}},
    )
    polyp, spleen = vocabulary.targets["polyp"], vocabulary.targets["spleen"]
    assert polyp.label == "My polyp" and polyp.own and polyp.plural == "polyps"
    assert polyp.synonyms == ("colon polyp", "colorectal polyp", "adenoma")
    assert polyp.colors == (*VOCABULARY.targets["polyp"].colors, "ochre")
    assert (spleen.label, spleen.own, spleen.lateralised) == ("Spleen", True, True)
    assert vocabulary.modalities["CT scan"].label == "CT scan".capitalize()
    assert vocabulary.modalities["dermoscopy"].absent[-1] == "hoof"
    assert vocabulary.canonical("color", "scarlet") == "red" and vocabulary.canonical("color", "reddish") == "red"
    assert vocabulary.words("color")[-1] == "ochre"
    assert vocabulary.words("cycle", "myocardium") == ("diastole", "systole", "mid-systole")
    assert not vocabulary.targets["foot ulcer"].own
    # The shipped words stay as they were.
    assert "spleen" not in load_vocabulary().targets and load_vocabulary() is VOCABULARY


def test_the_version_tells_the_words_apart(tmp_path):
    one = own(tmp_path, targets={"spleen": {}})
    assert (
        one.version.startswith(f"{VOCABULARY.version}+")
        and one.version == own(tmp_path, targets={"spleen": {}}).version
    )
    assert one.version != own(tmp_path, targets={"liver": {}}).version
    assert own(tmp_path).version == VOCABULARY.version
    assert load_vocabulary(tmp_path / "absent.yaml") is VOCABULARY


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ("spleen: {synonyms: [milt, polyp]}", "line 2, targets.spleen: the name 'polyp' already belongs to 'polyp'"),
        ("spleen: {plural: Lungs}", "line 2, targets.spleen: the name 'lungs' already belongs to 'lungs'"),
        ("Polyp: {}", "line 2, targets.Polyp: the name 'polyp' already belongs to 'polyp'"),
        ("polyp: {synonyms: [mole]}", "line 2, targets.polyp: the name 'mole' already belongs to 'skin melanoma'"),
        ("spleen: {}\n  milt: {synonyms: [SPLEEN]}", "line 3, targets.milt: the name 'spleen' already belongs to"),
    ],
)
def test_one_name_does_not_mean_two_targets(tmp_path, targets, words):
    path = tmp_path / "words.yaml"
    path.write_text(f"targets:\n  {targets}\n", "utf-8")
    with pytest.raises(ValueError, match=re.escape(words)) as error:
        load_vocabulary(path)
    assert str(path) in str(error.value)
