"""What is particular to BiomedCLIPSeg and BiomedCLIPSeg-D."""

import pytest
import torch

from medvlsm_training.models import starting_model
from medvlsm_training.recipes import load_recipe
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSegConfig
from napari_medvlsm.core.models.store.card import write_card
from napari_medvlsm.core.prompts import load_vocabulary
from tests.core.models.small_models import card_of, small_biomedclipseg, small_biomedclipseg_d


def test_d_differs_from_biomedclipseg_in_its_decoder_only():
    torch.manual_seed(1)
    plain, clipseg = small_biomedclipseg(), small_biomedclipseg_d()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    plain.decoder.load_state_dict(clipseg.decoder.state_dict())
    changed = {name.split(".")[0] for name, value in plain.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder"}


def test_biomedclipseg_taps_one_block_later_than_clipseg(rng):
    model = small_biomedclipseg().eval()
    run = []
    for i, block in enumerate(model.biomedclip.visual.trunk.blocks):
        block.register_forward_hook(lambda *_, i=i: run.append(i))
    with torch.no_grad():
        model.encode_image(torch.randn(1, 3, 160, 160))
    assert model.taps == (1, 2, 4) and run == [0, 1, 2, 3, 4]


def test_a_recipe_cannot_ask_for_another_size_than_can_be_loaded_again(tmp_path):
    small_biomedclipseg().save(tmp_path / "base")
    write_card(card_of("biomedclipseg"), tmp_path / "base")
    for side in (0, 160):
        words = ["model=biomedclipseg", f"model.base={tmp_path / 'base'}", f"model.image_size={side}"]
        assert starting_model(load_recipe("best/isic", words), (), load_vocabulary()).image_size == 160
    with pytest.raises(ValueError, match=r"takes images of 160 x 160 pixels only, but model\.image_size is 96"):
        starting_model(load_recipe("best/isic", [*words, "model.image_size=96"]), (), load_vocabulary())


def test_biomedclipseg_never_looks_for_its_vision_model_on_a_hub():
    with pytest.raises(ValueError, match="no vision transformer that timm knows"):
        BiomedCLIPSegConfig(vision="hf-hub:someone/something")


def test_random_decoder_is_tame():
    decoder = small_biomedclipseg().decoder
    assert max(p.abs().max() for p in decoder.film_mul.parameters()) < 1
