import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from medvlsm_training.tokenizer import build_tokenizer, clip_merges
from napari_medvlsm.core.images import Scan, to_model_input
from napari_medvlsm.core.inference import Cancelled, Segmenter, to_scan_size
from napari_medvlsm.core.models.clipseg import CLIPSeg

TEXTS = ["small pink polyp", "left lung", "skin melanoma, located in top left of the image"]


def plain_logits(model: CLIPSeg, pixels, texts):
    """What `transformers` itself answers: everything at once, padded to the full length."""
    array = to_model_input(pixels, model.image_size, model.mean, model.std)
    tokens = model.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")
    batch = torch.from_numpy(array)[None].repeat(len(texts), 1, 1, 1)
    with torch.no_grad():
        logits = model.net(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=batch
        ).logits
    return logits.reshape(len(texts), *logits.shape[-2:]).numpy()


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.fixture
def segmenter(small_clipseg, small_card):
    return Segmenter(small_clipseg, small_card, device="cpu")


def test_same_logits_as_the_plain_forward(segmenter, image):
    segmenter.set_image(image)
    ours = np.stack([p.logits for p in segmenter.segment(TEXTS)])
    theirs = plain_logits(segmenter.model, image, TEXTS)
    assert np.abs(ours - theirs).max() <= 1e-4 * theirs.std()
    one = segmenter.segment(TEXTS[1])[0].logits
    assert np.abs(one - theirs[1]).max() <= 1e-4 * theirs.std()


def test_same_logits_at_the_true_size_of_clipseg(image, small_card):
    tokenizer = build_tokenizer(clip_merges())
    config = CLIPSegConfig(use_complex_transposed_convolution=True, reduce_dim=64, vision_config={"patch_size": 16})
    config.text_config.eos_token_id = 2  # as in the published configuration
    torch.manual_seed(1)
    model = CLIPSeg(CLIPSegForImageSegmentation(config).eval(), tokenizer, _preprocessing(352))
    parameters, _ = model.parameter_count()
    assert parameters == 150_747_746
    segmenter = Segmenter(model, small_card, device="cpu")
    segmenter.set_image(image)
    ours = np.stack([p.logits for p in segmenter.segment(TEXTS[:2])])
    theirs = plain_logits(model, image, TEXTS[:2])
    assert ours.shape == (2, 352, 352)
    assert np.abs(ours - theirs).max() <= 1e-4 * theirs.std()


def _preprocessing(side):
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def test_blocks_after_the_last_tap_are_not_computed(segmenter, image):
    run = []
    layers = segmenter.model.net.clip.vision_model.encoder.layers
    hooks = [layer.register_forward_hook(lambda *_, i=i: run.append(i)) for i, layer in enumerate(layers)]
    segmenter.set_image(image)
    for hook in hooks:
        hook.remove()
    assert run == [0, 1, 2, 3] and len(layers) == 6


def test_image_is_encoded_once(segmenter, image):
    calls = []
    hook = segmenter.model.net.clip.vision_model.embeddings.register_forward_hook(lambda *_: calls.append(1))
    segmenter.set_image(image)
    segmenter.segment("polyp")
    segmenter.segment(["left lung", "polyp"])
    segmenter.set_image(Scan(image.copy()))
    hook.remove()
    assert len(calls) == 1


def test_cache_is_bounded_in_bytes_and_the_current_scan_stays(small_clipseg, small_card, rng):
    segmenter = Segmenter(small_clipseg, small_card, device="cpu", cache_bytes=1)
    for _ in range(3):
        segmenter.set_image(rng.integers(0, 256, (20, 20), dtype=np.uint8))
    assert len(segmenter._images) == 1
    assert segmenter.segment("polyp")[0].probability.shape == (20, 20)


def test_masks_have_the_scans_size_and_follow_the_threshold(segmenter, image):
    segmenter.set_image(image)
    prediction = segmenter.segment("polyp")[0]
    assert prediction.mask().shape == (50, 70) and prediction.mask().dtype == bool
    assert prediction.mask(0.2).sum() >= prediction.mask(0.8).sum()


@pytest.mark.parametrize("size", [(3, 200), (64, 64), (301, 57)])
def test_upsampling_is_torchs_whatever_the_strips(size, monkeypatch):
    logits = torch.randn(24, 24) * 3
    expected = torch.sigmoid(functional.interpolate(logits[None, None], size=size, mode="bilinear"))[0, 0].numpy()
    monkeypatch.setattr("napari_medvlsm.core.inference._STRIP_PIXELS", 500)
    assert np.abs(to_scan_size(logits, size) / 255 - expected).max() <= 0.51 / 255


def test_wrong_order_gives_a_sentence(segmenter):
    with pytest.raises(RuntimeError, match="set_image before segment"):
        segmenter.segment("polyp")


def test_check_can_cancel(segmenter, image):
    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.set_image(image, stop)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(small_clipseg, small_card, image):
    on_cpu = Segmenter(small_clipseg, small_card, device="cpu")
    on_cpu.set_image(image)
    expected = on_cpu.segment(TEXTS)
    on_gpu = Segmenter(small_clipseg, small_card, device="cuda")
    on_gpu.set_image(image)
    try:
        for ours, theirs in zip(on_gpu.segment(TEXTS), expected, strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-2 * theirs.logits.std())
    finally:
        small_clipseg.to("cpu")
