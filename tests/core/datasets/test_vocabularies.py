"""Words of data sets, merged with the user's own."""

import pytest

from napari_medvlsm.core.datasets.vocabularies import dataset_vocabulary, extend_snapshot, require_modality
from napari_medvlsm.core.prompts import load_vocabulary

VOCABULARY = load_vocabulary()
STONE = "targets: {gallstone: {modality: abdominal ultrasound, synonyms: [stone]}}\n"


@pytest.fixture
def words(tmp_path):
    """Makes a folder that was written with the shipped words and some more; or a file with these."""

    def made(name, text):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, "utf-8")
        folder = tmp_path / name
        folder.mkdir()
        extend_snapshot(folder, load_vocabulary(path))
        return folder, path

    return made


def test_without_words_of_ones_own_it_is_the_shipped_vocabulary(tmp_path, words):
    folder, own = words("plain", "")
    assert dataset_vocabulary([folder, tmp_path / "gone"]) is VOCABULARY
    assert dataset_vocabulary([], own) is VOCABULARY


def test_words_of_all_folders_and_of_the_user_are_there(words):
    first, _ = words("first", STONE)
    second, own = words("second", "targets: {gallstone: {synonyms: [calculus], lateralised: true}}\n")
    _, mine = words(
        "mine", "attributes: {color: {maroon: [dark red]}}\nmodalities: {endoscopy: {absent: [appendix]}}\n"
    )
    found = dataset_vocabulary([first, second], mine)
    target = found.target("gallstone")
    assert (target.modality, target.synonyms) == ("abdominal ultrasound", ("stone", "calculus"))
    assert target.lateralised and target.own
    assert found.canonical("color", "dark red") == "maroon" and "appendix" in found.modalities["endoscopy"].absent
    assert found.targets["polyp"] == VOCABULARY.targets["polyp"] and found.version.startswith(f"{VOCABULARY.version}+")
    assert found.version == dataset_vocabulary([first, second], mine).version != VOCABULARY.version
    assert dataset_vocabulary([second], own).version == load_vocabulary(own).version


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "targets: {gallstone: {modality: endoscopy}}",
            "'gallstone' has the modality 'endoscopy' in your own",
        ),
        (
            "targets: {kidney stone: {synonyms: [stone]}}",
            "'stone' means the target 'kidney stone' in your own",
        ),
        ("attributes: {color: {claret: [wine]}}", "color word 'wine' means the word 'claret' in your own"),
    ],
)
def test_two_meanings_are_named(words, text, sentence):
    folder, _ = words("theirs", f"{STONE}attributes: {{color: {{maroon: [wine]}}}}\n")
    _, mine = words("mine", text)
    with pytest.raises(ValueError, match=sentence) as raised:
        dataset_vocabulary([folder], mine)
    assert str(mine) in str(raised.value) and str(folder / "vocabulary.yaml") in str(raised.value)


def test_a_damaged_snapshot_is_named_with_its_line(words):
    folder, _ = words("theirs", STONE)
    path = folder / "vocabulary.yaml"
    path.write_text(path.read_text().replace("lateralised: true", "lateralised: perhaps", 1))
    with pytest.raises(ValueError, match=r"vocabulary.yaml, line \d+, targets\..*lateralised: expected true or false"):
        dataset_vocabulary([folder])


def test_modalities_are_known_or_the_nearest_is_named():
    require_modality("", VOCABULARY, "x")
    require_modality("endoscopy", VOCABULARY, "x")
    for wrong, near in (("endoscpy", "endoscopy"), ("Colonoscopy", "endoscopy"), ("chest xray", "chest x-ray")):
        with pytest.raises(ValueError, match=f"The set names the modality '{wrong}'.* did you mean '{near}'"):
            require_modality(wrong, VOCABULARY, "The set")
