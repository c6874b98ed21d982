"""The loop of the README as one piece: corrections, an exported folder, a finetuned model, and the next scan."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medvlsm_training.least_change import PARTS
from medvlsm_training.package import KEPT_CHANGE
from napari_medvlsm.cli import main
from napari_medvlsm.core.annotation import Annotation, new_provenance
from napari_medvlsm.core.datasets.export import export_case
from napari_medvlsm.core.images import Scan, content_hash
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.metrics import dice
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.prompts import Attributes, load_vocabulary
from napari_medvlsm.core.prompts.own_words import own_words_path

OWN_WORDS = """
targets:
  gallstone: {modality: abdominal ultrasound, synonyms: [stone], lateralised: true}
attributes: {color: [maroon], shape: [bulgy]}
modalities:
  abdominal ultrasound: {absent: [womb]}
"""


def stone(rng, size=(96, 120)):
    """A bright stone on noise, and its mask."""
    y, x = np.mgrid[: size[0], : size[1]]
    row, col = rng.integers(25, 70), rng.integers(25, 95)
    mask = ((y - row) / 14) ** 2 + ((x - col) / 20) ** 2 < 1
    pixels = rng.integers(0, 60, (*size, 3)) + mask[..., None] * np.array([150, 40, 60])
    return Scan(pixels.astype(np.uint8)), mask


@pytest.fixture
def own_words():
    """The user's vocabulary file, with a target of his own."""
    path = own_words_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OWN_WORDS, "utf-8")
    return path


def test_from_corrections_to_the_new_model_on_the_next_scan(own_words, rng, tmp_path, monkeypatch, samples):
    vocabulary, folder = load_vocabulary(own_words), tmp_path / "stones"
    starter = load_segmenter("starter", device="cpu")
    splits = Counter()
    for number in range(10):
        scan, truth = stone(rng)
        starter.set_image(scan)
        (answer,) = starter.segment("gallstone")
        correction = Annotation(
            "gallstone",
            truth,
            corrected=True,
            said=Attributes("gallstone", color="maroon", shape="bulgy"),
            provenance=new_provenance(scan_hash=content_hash(scan.pixels), scan_size=scan.size, model="starter"),
            prediction=answer.mask(),
        )
        exported = export_case(folder, scan, correction, vocabulary)
        assert exported.number == number + 1 and not exported.replaced
        splits[exported.split] += 1
    assert splits == {"train": 6, "val": 2, "test": 2}

    monkeypatch.chdir(tmp_path)
    run = Path("runs") / "best_own-stones"
    assert main(["train", "best/own", "trainer.max_epochs=6", "--data", str(folder)]) == 0
    card = read_card(run / "model")
    assert card.targets[0] == "gallstone" and {"gallstone", "stone"} <= {*card.phrases}
    assert {*card.kept_base.own} == {"gallstone"} and card.targets[1:] == starter.card.targets
    assert {"maroon", "bulgy", "womb"} <= {*card.words}
    assert card.data[-1].name == "stones" and card.metrics["test"]["gallstone"]["cases"] == 2
    # Encoders and statistics of the norms stay the starter's; the card tells how much of the rest's change is kept.
    before, after = starter.model.state_dict(), load_file(run / "model" / "model.safetensors")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and not any(name.startswith("encoders.") or "running" in name for name in changed)
    assert card.training[KEPT_CHANGE] in PARTS
    (source,) = card.training["recipe"]["sources"]
    assert source["folder"] == "stones"

    scan, truth = stone(rng)
    segmenter = load_segmenter(str(run / "model"), device="cpu")
    scores = []
    for model in (starter, segmenter):
        model.set_image(scan)
        scores.append(dice(model.segment("gallstone")[0].mask(), truth))
    assert scores[1] > max(0.5, scores[0])

    # What only the starter was trained on it answers as before, at the new model's threshold.
    skin = read_scan(samples / "skin_lesion.jpg")
    outlines = []
    for model in (starter, segmenter):
        model.set_image(skin)
        outlines.append(model.segment("skin lesion")[0].mask())
    assert outlines[0].any() and dice(*outlines) > 0.98
