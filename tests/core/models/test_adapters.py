"""LoRA adapters on every family: trained, saved, loaded and merged."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_medvlsm.core.images import to_model_input
from napari_medvlsm.core.models.adapters import merge_folder, save_lora
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import ENCODERS, PROJECTIONS, LoraSettings
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, write_card
from tests.core.models.small_models import (
    LONG,
    SHORT,
    TEXTS,
    VISION_LANGUAGE,
    answers,
    assert_close,
    card_of,
    small_biomedclipseg,
)


@pytest.fixture
def base(tmp_path, model, family):
    folder = tmp_path / "base"
    model.save(folder)
    write_card(replace(card_of(family), name="base", title="The Base"), folder)
    return folder


@pytest.fixture
def everywhere(family):
    """Adapters on all that can have them."""
    encoders = ("text",) if family in ("cris, mobile", "wordunet") else ENCODERS
    return LoraSettings(2, encoders=encoders, projections=PROJECTIONS)


@pytest.fixture
def adapted(base, everywhere):
    return add_lora(load_model(base), everywhere)


def stir(model):
    """As if the adapters were trained."""
    torch.manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def save_adapter(model, family, folder, base):
    save_lora(model, folder, base)
    write_card(card_of(family), folder)
    return folder


@pytest.mark.parametrize("family", VISION_LANGUAGE, indirect=True)
class TestAdaptersOnEveryFamily:
    def test_nothing_changes_at_first(self, base, pixels, everywhere):
        # Frozen as it will be: torch chooses among its matrix products by what wants a gradient, and they round apart.
        model = load_model(base).requires_grad_(False)
        with torch.no_grad():
            before = model(pixels, [SHORT, LONG])
            after = add_lora(model, everywhere)(pixels, [SHORT, LONG])
        assert torch.equal(after, before)

    def test_only_the_adapters_train_and_all_of_them(self, adapted, pixels):
        stir(adapted).train()
        before = {name: value.clone() for name, value in adapted.state_dict().items()}
        trained = [p for p in adapted.parameters() if p.requires_grad]
        adapted(pixels, [SHORT, LONG]).square().mean().backward()
        torch.optim.SGD(trained, lr=1e-3).step()
        assert all(p.grad is not None and p.grad.any() for p in trained)
        changed = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
        statistics = {name for name, _ in adapted.named_buffers()}
        assert changed - statistics == {name for name in before if ".lora_" in name}
        assert sum(p.numel() for p in trained) < 0.2 * sum(p.numel() for p in adapted.parameters())

    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize("projection", PROJECTIONS)
    def test_each_projection_of_either_encoder_reaches_the_answer(self, base, family, pixels, encoder, projection):
        adapted = load_model(base)
        if family in ("cris, mobile", "wordunet") and encoder == "vision":
            with pytest.raises(ValueError, match="of which this model's vision encoder has none; leave vision out"):
                add_lora(adapted, LoraSettings(2, encoders=("text", "vision"), projections=(projection,)))
            return
        with torch.no_grad():
            before = *adapted.encode_image(pixels), adapted.encode_text([SHORT]).sentence
            stir(add_lora(adapted, LoraSettings(2, encoders=(encoder,), projections=(projection,))))
            after = *adapted.encode_image(pixels), adapted.encode_text([SHORT]).sentence
        *image, text = (float((a - b).abs().max()) for a, b in zip(after, before, strict=True))
        image = max(image)
        assert (image > 0, text > 0) == (encoder == "vision", encoder == "text")
        names = {n.split(".lora_")[0] for n, p in adapted.named_parameters() if p.requires_grad}
        assert names == set(adapted.attention[encoder][projection])

    def test_saved_beside_its_base_and_loaded(self, adapted, family, base, tmp_path, pixels):
        stir(adapted)
        folder = save_adapter(adapted, family, tmp_path / "adapter", base)
        assert sorted(p.name for p in folder.iterdir()) == ["adapter.json", "adapter.safetensors", "model_card.json"]
        assert all(".lora_" in name for name in load_file(folder / "adapter.safetensors"))
        again = load_model(folder)
        assert not again.training and again.adapter == adapted.adapter
        with torch.no_grad():
            assert torch.equal(again(pixels, [SHORT, LONG]), adapted(pixels, [SHORT, LONG]))

    def test_what_was_trained_along_is_kept(self, adapted, family, base, tmp_path, pixels):
        name, parameter = next((n, p) for n, p in adapted.named_parameters() if "decoder." in n)
        with torch.no_grad():
            parameter += 0.1
        folder = save_adapter(adapted, family, tmp_path / "adapter", base)
        assert {n for n in load_file(folder / "adapter.safetensors") if ".lora_" not in n} == {name}
        with torch.no_grad():
            assert torch.equal(load_model(folder)(pixels, [SHORT, LONG]), adapted(pixels, [SHORT, LONG]))

    def test_merged_is_a_plain_model_of_the_same_answers(self, adapted, family, base, model, tmp_path, pixels):
        folder = save_adapter(stir(adapted), family, tmp_path / "adapter", base)
        merge_folder(folder, tmp_path / "merged")
        merged = load_model(tmp_path / "merged")
        assert merged.adapter is None and list(merged.state_dict()) == list(model.state_dict())
        with torch.no_grad():
            answers = adapted(pixels, [SHORT, LONG])
            assert_close(merged(pixels, [SHORT, LONG]), answers)
            assert (answers - model(pixels, [SHORT, LONG])).abs().max() > 0

    def test_encoded_once_prompted_many_times(self, adapted, family, image):
        together = answers(stir(adapted), family, image, TEXTS)
        array = to_model_input(image, adapted.image_size, adapted.mean, adapted.std)
        pixels = torch.from_numpy(np.repeat(array[None], len(TEXTS), 0))
        with torch.no_grad():
            assert_close(together, adapted(pixels, TEXTS))


def test_missing_base_is_named(tmp_path, small_clipseg, model_folder):
    model = add_lora(load_model(model_folder), LoraSettings(2))
    folder = save_adapter(model, "clipseg", tmp_path / "adapter", model_folder)
    model_folder.rename(tmp_path.parent / f"{tmp_path.name}_elsewhere")
    digest = hashlib.sha256((tmp_path.parent / f"{tmp_path.name}_elsewhere" / WEIGHTS_FILE).read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=rf"adapts another one, 'Small' \(small, .* {digest[:16]}.*copy that model's"):
        load_model(folder)


def test_base_is_known_by_its_weights_not_by_its_name(tmp_path, model_folder, monkeypatch):
    folder = save_adapter(
        add_lora(load_model(model_folder), LoraSettings(2)), "clipseg", tmp_path / "a" / "b", model_folder
    )
    model_folder.rename(tmp_path / "renamed")
    monkeypatch.setenv("MEDVLSM_MODELS", str(tmp_path))
    load_model(folder)
    other = small_biomedclipseg()
    other.save(tmp_path / "renamed")
    with pytest.raises(ValueError, match="which is not here"):
        load_model(folder)


def test_a_folder_of_an_adapter_is_no_base_though_the_weights_lie_in_it(tmp_path, model_folder, monkeypatch):
    monkeypatch.setenv("MEDVLSM_MODELS", str(tmp_path))
    folder = save_adapter(add_lora(load_model(model_folder), LoraSettings(2)), "clipseg", tmp_path / "a", model_folder)
    shutil.copy(model_folder / WEIGHTS_FILE, folder)
    model_folder.rename(tmp_path / "renamed")
    load_model(folder)
    (tmp_path / "renamed").rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    with pytest.raises(ValueError, match="which is not here"):
        load_model(folder)


def test_adapters_are_not_saved_as_a_whole_or_on_adapters(tmp_path, model_folder):
    model = add_lora(load_model(model_folder), LoraSettings(2))
    with pytest.raises(ValueError, match="save_lora"):
        model.save(tmp_path / "whole")
    with pytest.raises(ValueError, match="adapters already"):
        add_lora(model, LoraSettings(4))
    folder = save_adapter(model, "clipseg", tmp_path / "adapter", model_folder)
    with pytest.raises(ValueError, match="itself an adapter"):
        save_lora(model, tmp_path / "second", folder)
    with pytest.raises(ValueError, match="holds an adapter"):
        merge_folder(folder, folder)
    with pytest.raises(ValueError, match="no adapters"):
        save_lora(load_model(model_folder), tmp_path / "third", model_folder)


def test_adapter_of_another_shape_is_refused(tmp_path, model_folder):
    model = add_lora(load_model(model_folder), LoraSettings(2))
    folder = save_adapter(model, "clipseg", tmp_path / "adapter", model_folder)
    weights = load_file(folder / "adapter.safetensors")
    name = sorted(weights)[0]
    save_file(
        {n: v for n, v in weights.items() if n != name} | {"x.lora_A": torch.zeros(1)}, folder / "adapter.safetensors"
    )
    with pytest.raises(ValueError, match=rf"1 missing \({name}\); 1 unexpected \(x\.lora_A\)"):
        load_model(folder)
    (folder / "adapter.json").write_text('{"settings": {"rank": 0}, "base": {}}')
    with pytest.raises(ValueError, match="cannot be loaded: LoRA needs a rank"):
        load_model(folder)
    (folder / "adapter.safetensors").unlink()
    with pytest.raises(ValueError, match=r"misses adapter\.safetensors"):
        load_model(folder)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"dropout": 1.0}, {"encoders": ("sound",)}, {"projections": ()}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="LoRA"):
        LoraSettings(**wrong)
