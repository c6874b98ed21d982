import pytest

from napari_medvlsm.core.prompts import load_vocabulary, parse
from napari_medvlsm.core.prompts.several import parts

VOCABULARY = load_vocabulary()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("left lung and right lung", ["left lung", "right lung"]),
        ("polyp and ulcer", ["polyp", "ulcer"]),
        ("Left and RIGHT lung", ["Left lung", "RIGHT lung"]),
        ("left & right lungs", ["left lungs", "right lungs"]),
        ("polyp; ulcer, left lung", ["polyp", "ulcer", "left lung"]),
        ("polyp, round and red, and a small ulcer", ["polyp, round and red", "a small ulcer"]),
        ("polyp and small, red ulcer", ["polyp", "small, red ulcer"]),
        ("polyp in the top and bottom, ulcer on the right", ["polyp in the top and bottom", "ulcer on the right"]),
        ("two polyps at the left and one ulcer", ["two polyps at the left", "one ulcer"]),
        ("consolidation and edema", ["consolidation", "edema"]),
    ],
)
def test_each_target_has_its_part(text, found):
    assert list(parts(text, VOCABULARY)) == found
    assert len({parse(part, VOCABULARY).attributes.target for part in found}) == len(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "and",
        "polyp",
        "polyp and",
        "two large polyps",
        "polyp near the ulcer",
        "polyp and spleen",
        "tubes and lines",
        "one small polyp and one large polyp",
        "a wound on the foot and on the toes",
        "consolidation; edema and fracture are present",
        "Airspace Opacity in a Chest Xray. Cardiomegaly, Lung Opacity are present.",
    ],
)
def test_what_names_one_target_is_one_part(text):
    assert parts(text, VOCABULARY) == (text,)
