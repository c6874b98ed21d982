"""Of a change from the base the least is kept that validates as well."""

import copy

import numpy as np
import pytest
import torch

from medvlsm_training.evaluation.data import read_data
from medvlsm_training.least_change import between, least_change
from medvlsm_training.models import load_plain
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.adapters import save_lora
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from napari_medvlsm.core.prompts import load_vocabulary
from tests.core.models.small_models import small_wordunet
from tests.training.builders import write_set

VOCABULARY = load_vocabulary()


def outlining(model, logit):
    """The weights of a model that gives every pixel this logit, whatever it sees."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in weights:
        if name.startswith("decoder.logits") or name.startswith("decoder.presence"):
            weights[name].zero_()
    weights["decoder.presence.bias"].fill_(logit)
    return weights


@pytest.fixture
def all_polyp(tmp_path):
    """Two validation scans that are polyp throughout."""
    rng = np.random.default_rng(2)
    whole = np.ones((40, 40), bool)
    write_set(tmp_path / "polyps", {"val": range(2)}, lambda _: (rng.integers(0, 255, (40, 40, 3), np.uint8), whole))
    return [read_data(tmp_path / "polyps", "val", VOCABULARY, ["polyp"])]


# From -14 to 10 the logit is -2 at half of the way, and 4 at three quarters.
@pytest.mark.parametrize(("base", "trained", "kept"), [(-14, 10, 0.75), (-50, 10, 1.0), (10, 10, 0.25), (-1, 11, 0.25)])
def test_the_least_that_validates_as_well_is_kept(all_polyp, base, trained, kept):
    model = small_wordunet().eval()
    start, end = outlining(model, base), outlining(model, trained)
    model.load_state_dict(end)
    segmenter = Segmenter(model, ModelCard(name="m", title="M", family="wordunet"), "cpu", "float32")
    part, threshold = least_change(segmenter, start, all_polyp, VOCABULARY, 0.6, "interface")
    assert (part, threshold) == (kept, 0.6)
    assert float(model.state_dict()["decoder.presence.bias"]) == pytest.approx(base + kept * (trained - base))


def test_a_base_with_adapters_has_the_names_of_what_is_trained_from_it(tmp_path):
    plain = small_wordunet().eval()
    plain.save(tmp_path / "plain")
    write_card(ModelCard(name="plain", title="Plain", family="wordunet"), tmp_path / "plain")
    adapted = add_lora(load_plain(tmp_path / "plain"), LoraSettings(encoders=("text",)))
    save_lora(adapted, tmp_path / "adapted", tmp_path / "plain")
    write_card(ModelCard(name="adapted", title="Adapted", family="wordunet"), tmp_path / "adapted")
    base = load_plain(tmp_path / "adapted").state_dict()
    assert base.keys() == plain.state_dict().keys() == between(base, plain.state_dict(), 0.5).keys()


def test_between_is_on_the_way_and_counts_stay_trained():
    model = small_wordunet()
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    base = {name: tensor + 1 for name, tensor in copy.deepcopy(trained).items()}
    for name, tensor in between(base, trained, 0.25).items():
        assert torch.allclose(tensor, trained[name] + 0.75 if tensor.is_floating_point() else trained[name])
