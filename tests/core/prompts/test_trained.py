from dataclasses import replace

import pytest

from napari_medvlsm.core.models.store.registry import available_models
from napari_medvlsm.core.prompts import Attributes, load_vocabulary
from napari_medvlsm.core.prompts.trained import covered, in_trained_words, nearest
from napari_medvlsm.core.prompts.upstream import load_datasets, upstream_prompts

VOCABULARY = load_vocabulary()
CARD = available_models()["starter"].card


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("polyps", "polyps"),
        ("two large polyps", "two large polyps"),
        ("lungs", "lungs"),
        ("a tiny mole", "a tiny mole"),
        ("big polyp", "large polyp"),
        ("the wounds", "foot ulcer"),
        ("several big moles", "many large skin melanomas"),
        ("big polyp near the appendix", "large polyp, near the appendix"),
        ("odd polyp with strange stalk", "odd polyp with strange stalk"),
        ("lung nodule", "lung nodule"),
        ("big spleen", "big spleen"),
    ],
)
def test_words_that_mean_trained_ones_become_those(typed, read):
    prompt = in_trained_words(typed, VOCABULARY, CARD)
    assert (prompt.text, prompt.level) == (read, "free")


def sentences():
    """Every level of every data set of the paper, for each of its targets, with usual words."""
    said = Attributes("", "two", "small", "pink", "round", "top left", "", "frontal", "diastole", "male", "sixty")
    for dataset in load_datasets().values():
        for target in dataset.targets:
            words = {n: dataset.words[n][0] for n in ("shape", "color") if dataset.words.get(n)}
            full = replace(said, target=target, quality="good", tumor_type="benign", findings="edema", **words)
            if dataset.family.name == "heart_ultrasound":
                full = replace(full, view="two-chamber")
            for texts in upstream_prompts(dataset, full).values():
                yield from ((target, text) for text in ([texts] if isinstance(texts, str) else texts) if text)


def test_the_sentences_of_the_paper_are_understood():
    card = replace(CARD, targets=tuple(VOCABULARY.targets), phrases=tuple(VOCABULARY.targets))
    count = 0
    for target, text in sentences():
        prompt = in_trained_words(text, VOCABULARY, CARD)
        assert prompt.attributes.target == target, text
        assert covered(prompt.text, VOCABULARY, card).known_target
        if target in CARD.targets:
            assert covered(prompt.text, VOCABULARY, CARD).complete, (text, prompt.text)
        count += 1
    assert count > 200


@pytest.mark.parametrize(
    ("text", "modality", "found"),
    [
        ("polip", "", ["polyp"]),
        ("footulcer", "", ["foot ulcer"]),
        ("liver tumer", "", ["breast tumor"]),
        ("left kidney", "", []),
        ("the hip of a child", "", []),
        # Of the kind of scan that shows what is named, or else of the one in view.
        ("pleural effusion", "", ["lungs", "left lung", "right lung"]),
        ("myocardium", "", []),
        ("lesion", "breast ultrasound", ["breast tumor"]),
        ("lesion", "endoscopy", ["polyp"]),
    ],
)
def test_the_nearest_are_of_the_same_kind_of_scan(text, modality, found):
    assert [target.phrase for target in nearest(text, VOCABULARY, CARD.targets, modality)] == found


def test_a_target_that_the_model_never_learned_is_not_known_by_a_part_of_its_name():
    assert not covered("lung lesion", VOCABULARY, CARD).known_target
    assert not covered("brain tumor", VOCABULARY, CARD).known_target
    assert covered("left lung", VOCABULARY, CARD).complete
