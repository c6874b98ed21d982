"""The annotation record: what is written is read back, in every version of the schema."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from napari_medvlsm.core import annotation as module
from napari_medvlsm.core.annotation import Annotation, Provenance, dumps, from_dict, is_corrected, loads, to_dict
from napari_medvlsm.core.masks import Cleanup
from napari_medvlsm.core.options import SegmentOptions, Tiling
from napari_medvlsm.core.prompts import Attributes, Prompt

MASK = np.zeros((5, 7), bool)
MASK[1:3, 2:6] = True
FULL = Annotation(
    target="gallstone",
    mask=MASK,
    corrected=True,
    said=Attributes("gallstone", color="maroon", shape="bulgy"),
    measured=Attributes("gallstone", number="one", location="left"),
    provenance=Provenance(
        scan_hash="ab" * 16,
        scan_size=(5, 7),
        spacing=(0.5, 0.25),
        prompt=Prompt("one maroon gallstone", "p5", Attributes("gallstone", number="one"), "3+1234", ("number",)),
        vocabulary_version="3+1234",
        vocabulary_hash="ef" * 8,
        model="starter",
        weights_hash="cd" * 32,
        threshold=0.4,
        cleanup=Cleanup(fill_holes=True),
        options=SegmentOptions(Tiling(64, 0.5), (0, 1, 4, 6)),
        author="Dr. Ada",
        created=datetime(2026, 11, 26, 6, 0, tzinfo=UTC),
        seconds=12.5,
        strokes=4,
        clicks=2,
        spacing_from="entered by hand",
        software="napari-medvlsm 0.2",
    ),
    prediction=~MASK,
)


def test_every_field_comes_back():
    defaults = Provenance()
    for f in fields(Provenance):
        assert getattr(FULL.provenance, f.name) != getattr(defaults, f.name), f"the test leaves {f.name} out"
    text = dumps(FULL)
    assert text.isascii() and "\n" not in text
    back = loads(text, MASK)
    assert back.provenance == FULL.provenance
    assert (back.target, back.corrected, back.absent) == ("gallstone", True, False)
    assert (back.said, back.measured) == (FULL.said, FULL.measured)
    assert back.prediction is not None and (back.prediction == ~MASK).all() and back.prediction.dtype == bool


def test_absent_is_an_answer_and_an_empty_mask_alone_is_none():
    empty = np.zeros((5, 7), bool)
    absent = Annotation("polyp", empty, corrected=True, absent=True)
    assert loads(dumps(absent), empty).absent
    assert not loads(dumps(replace(absent, absent=False)), empty).absent
    with pytest.raises(ValueError, match="marked as absent, but the mask holds foreground"):
        Annotation("polyp", MASK, absent=True)


def test_files_of_0_1_0_and_of_the_versions_after_it_open():
    first = {
        "software": "napari-medvlsm 0.1.0",
        "made": "correction by a person",
        "prompt": {"text": "small polyp", "level": "p4", "vocabulary": "1",
                   "attributes": {"target": "polyp", "size": "small"}},
        "model": "starter",
        "threshold": 0.5,
        "cleanup": ["drop_specks"],
        "scan_hash": "ab" * 16,
        "created": "2026-11-24T02:42:10+00:00",
        "spacing_mm": [0.5, 0.25],
    }  # fmt: skip
    found = from_dict(first, MASK)
    assert found.corrected and found.target == "polyp" and found.said == Attributes("polyp", size="small")
    assert found.provenance.spacing == (0.5, 0.25) and found.provenance.cleanup == Cleanup(drop_specks=True)
    assert found.provenance.created == datetime(2026, 11, 24, 2, 42, 10, tzinfo=UTC)
    later = first | {
        "prompt": first["prompt"] | {"measured": ["size"]},
        "looked_at": {"tiles": None, "region": [0, 1, 4, 6]},
        "target": "own words",
    }
    found = from_dict(later, MASK)
    assert found.target == "own words" and found.measured == Attributes("polyp", size="small")
    assert found.said == Attributes("polyp") and found.provenance.options.region == (0, 1, 4, 6)
    by_hand = {**first, "prompt": None, "model": "", "threshold": None, "cleanup": [], "target": "polyp"}
    assert from_dict(by_hand, MASK).provenance.prompt is None
    assert from_dict({**by_hand, "looked_at": "the whole scan"}, MASK).provenance.options.whole


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not an annotation record"),
        ("[1]", "not an annotation record"),
        ('{"software": "another program"}', "not an annotation record"),
        ("[" * 100_000, "not an annotation record"),
        (json.dumps(to_dict(FULL) | {"schema_version": 99}), "knows versions up to 2; update"),
        (json.dumps(to_dict(FULL) | {"absent": "perhaps"}), "damaged"),
        (json.dumps(to_dict(FULL) | {"provenance": {"spacing": [0, 1]}}), "two positive numbers"),
        (json.dumps(to_dict(FULL) | {"prediction": {"shape": [5, 7], "zlib_bits": "eJw="}}), "damaged"),
        (json.dumps(to_dict(FULL) | {"prediction": {"shape": [10**9, 10**9], "zlib_bits": ""}}), "damaged"),
        (json.dumps(to_dict(FULL) | {"prediction": to_dict(FULL)["prediction"] | {"shape": [2, 2]}}), "damaged"),
        ('{"software": "napari-medvlsm 0.1.0", "prompt": 7}', "damaged"),
        ('{"software": "napari-medvlsm 0.1.0", "cleanup": ["melt"]}', "damaged"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        loads(text, MASK)


def test_corrected_is_told_without_the_mask():
    assert is_corrected(to_dict(FULL)) and is_corrected(
        {"software": "napari-medvlsm 0.1.0", "made": "correction by a person"}
    )
    assert not is_corrected(to_dict(replace(FULL, corrected=False))) and not is_corrected(["x"])
    assert not is_corrected({"software": "napari-medvlsm 0.1.0", "made": "prediction"})


def test_new_provenance_tells_program_and_time():
    made = module.new_provenance(model="starter")
    assert made.model == "starter" and made.software.startswith("napari-medvlsm ") and made.created.tzinfo is not None
