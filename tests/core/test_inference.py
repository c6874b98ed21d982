import io

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

from medvlsm_training.tokenizer import build_tokenizer, clip_merges
from napari_medvlsm.core.engine.protocol import read_frame
from napari_medvlsm.core.engine.server import Engine
from napari_medvlsm.core.images import Scan, to_model_input, window_of
from napari_medvlsm.core.inference import Cancelled, Segmenter
from napari_medvlsm.core.io.images import read_scan
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models.architectures.base import VLSM, Conditions
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.upsampling import scaled, to_scan_size

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
    model = CLIPSeg(CLIPSegForImageSegmentation(config).eval(), tokenizer, Preprocessing(352, [0.5] * 3, [0.5] * 3))
    parameters = model.parameter_count()
    assert parameters == 150_747_746
    segmenter = Segmenter(model, small_card, device="cpu")
    segmenter.set_image(image)
    ours = np.stack([p.logits for p in segmenter.segment(TEXTS[:2])])
    theirs = plain_logits(model, image, TEXTS[:2])
    assert ours.shape == (2, 352, 352)
    assert np.abs(ours - theirs).max() <= 1e-4 * theirs.std()


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
    assert len(calls) == 1
    # Ahead, while the scan before it stays the one that is asked about.
    segmenter.encode(image[:20])
    assert segmenter.segment("polyp")[0].probability.shape == image.shape[:2] and len(calls) == 2
    segmenter.set_image(image[:20])
    hook.remove()
    assert len(calls) == 2


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
    monkeypatch.setattr("napari_medvlsm.core.upsampling._STRIP_PIXELS", 500)
    assert np.abs(to_scan_size(logits, size) / 255 - expected).max() <= 0.51 / 255


def test_wrong_order_gives_a_sentence(segmenter):
    with pytest.raises(RuntimeError, match="set_image before segment"):
        segmenter.segment("polyp")


def test_check_can_cancel(segmenter, image):
    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        segmenter.set_image(image, stop)


# Several scans at once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["clipseg", "cris", "biomedclipseg"])
def test_a_batch_of_scans_answers_as_one_at_a_time(family, small_builders, small_card, small_texts, rng):
    segmenter = Segmenter(small_builders[family](), small_card, device="cpu")
    scans = [
        rng.integers(0, 256, (50, 70, 3), dtype=np.uint8),
        rng.normal(size=(90, 31)).astype(np.float32),
        rng.integers(0, 4000, (33, 64), dtype=np.uint16),
    ]
    together = segmenter.segment_batch([segmenter.prepare(scan) for scan in scans], small_texts)
    for scan, answers in zip(scans, together, strict=True):
        segmenter.set_image(scan)
        for ours, alone in zip(answers, segmenter.segment(small_texts), strict=True):
            assert ours.prompt == alone.prompt and ours.probability.shape == scan.shape[:2]
            assert np.abs(ours.logits - alone.logits).max() <= 1e-4 * alone.logits.std()
            assert np.abs(ours.probability.astype(int) - alone.probability).max() <= 1


def test_a_batch_is_one_forward_pass_and_leaves_the_current_scan(glass, rng):
    current, *others = (rng.integers(0, 256, (32, 32), dtype=np.uint8) for _ in range(4))
    glass.set_image(current)
    before = glass.segment("a")[0].probability
    assert glass.segment_batch([], "a") == []
    answers = glass.segment_batch([glass.prepare(scan) for scan in others], "a")
    assert glass.model.encoded == [1, 3] and len(answers) == 3
    np.testing.assert_array_equal(glass.segment("a")[0].probability, before)


def test_out_of_memory_takes_a_batch_one_by_one(fake_gpu, small_card, rng):
    segmenter = Segmenter(Glass(room=2), small_card)
    scans = [rng.integers(0, 256, (40, 40), dtype=np.uint8) for _ in range(3)]
    answers = segmenter.segment_batch([segmenter.prepare(scan) for scan in scans], "a")
    assert segmenter.model.encoded == [1, 1, 1] and segmenter.device.type == "cuda"
    alone = Segmenter(Glass(), small_card, device="cuda")
    for scan, (answer,) in zip(scans, answers, strict=True):
        alone.set_image(scan)
        np.testing.assert_array_equal(answer.probability, alone.segment("a")[0].probability)


# Rectangles and tiles ------------------------------------------------------------------------------------------------


class Glass(VLSM):
    """A model of no weights whose logits are the red channel of what it sees, times 4 and less 2, for any words.

    It keeps the batches that it is given, and may be given a device that is short of memory.
    """

    def __init__(self, side=32, room=None):
        torch.nn.Module.__init__(self)
        self.preprocessing = self.default_preprocessing(side)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.room = room
        self.place = "cpu"
        self.encoded, self.decoded = [], []

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def to(self, device):
        """Only remembers it: this computer has no other."""
        self.place = torch.device(device).type
        return self

    def encode_image(self, pixels):
        self._need(len(pixels))
        self.encoded.append(len(pixels))
        return (pixels[:, 0],)

    def encode_text(self, texts):
        return Conditions(torch.zeros(len(texts), 1))

    def decode(self, activations, conditions):
        self._need(len(conditions))
        self.decoded.append(len(conditions))
        return activations[0] * 4 - 2

    def _need(self, count):
        if self.place != "cpu" and self.room is not None and count > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    tokenize = encode_tokens = load = save = attention = None


@pytest.fixture
def glass(small_card):
    return Segmenter(Glass(), small_card, device="cpu")


def sigmoid_of(unit):
    return expit(4 * unit - 2)


def test_rectangle_alone_is_seen_and_answered(glass, rng):
    pixels = rng.integers(0, 256, (50, 70), dtype=np.uint8)
    glass.set_image(pixels)
    region = (7, 11, 39, 43)  # as large as the model's square, so nothing is resampled
    (prediction,) = glass.segment("polyp", region=region)
    inside = np.zeros((50, 70), bool)
    inside[7:39, 11:43] = True
    assert not prediction.probability[~inside].any()
    expected = 255 * sigmoid_of(pixels[7:39, 11:43] / 255)
    np.testing.assert_allclose(prediction.probability[7:39, 11:43], expected, atol=0.51)
    with pytest.raises(ValueError, match="beyond the scan of 50 x 70"):
        glass.segment("polyp", region=(0, 0, 10, 71))


def test_rectangle_is_encoded_once_and_apart_from_the_scan(glass, rng):
    glass.set_image(rng.integers(0, 256, (50, 70), dtype=np.uint8))
    for region in ((0, 0, 20, 20), (0, 0, 20, 20), None, (0, 0, 20, 21)):
        glass.segment(["polyp", "left lung"], region=region)
    assert len(glass.model.encoded) == 3


def test_rectangle_at_a_smaller_size(glass, rng):
    glass.set_image(rng.integers(50, 256, (50, 70), dtype=np.uint8))
    probability = glass.segment("polyp", size=(25, 35), region=(10, 20, 50, 70))[0].probability
    assert probability.shape == (25, 35) and probability[5:, 10:].all()
    assert np.count_nonzero(probability) == 20 * 25
    assert scaled((40, 60, 42, 62), (50, 70), (5, 7)) == (4, 6, 5, 7)


@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_tiles_at_native_resolution_see_every_pixel(glass, rng, overlap):
    pixels = rng.integers(0, 4000, (131, 99)).astype(np.uint16)
    glass.set_image(pixels, encode=False)
    (prediction,) = glass.segment_tiled("polyp", overlap=overlap)
    low, high = window_of(pixels).low, window_of(pixels).high
    expected = 255 * sigmoid_of(np.clip((pixels - low) / (high - low), 0, 1))
    # One grey value of the bytes, whichever tiles a pixel lies in: no seams.
    np.testing.assert_allclose(prediction.probability, expected, atol=0.52)
    assert prediction.logits is None and set(glass.model.encoded) == {1}


def test_tiles_of_another_side_and_in_a_rectangle(glass, rng):
    pixels = np.repeat(np.repeat(rng.integers(0, 256, (40, 50), dtype=np.uint8), 2, 0), 2, 1)
    glass.set_image(pixels)
    (prediction,) = glass.segment_tiled("polyp", tile=64, region=(8, 4, 72, 100))
    inside = np.zeros(pixels.shape, bool)
    inside[8:72, 4:100] = True
    assert not prediction.probability[~inside].any() and prediction.probability[inside].any()
    (small,) = glass.segment_tiled("polyp", tile=64, region=(8, 4, 30, 20))
    assert np.count_nonzero(small.probability) <= 22 * 16


def test_tiles_give_one_map_a_prompt(small_clipseg, small_card, rng):
    segmenter = Segmenter(small_clipseg, small_card, device="cpu")
    segmenter.set_image(rng.integers(0, 256, (100, 150), dtype=np.uint8))
    together = segmenter.segment_tiled(TEXTS)
    for text, prediction in zip(TEXTS, together, strict=True):
        (alone,) = segmenter.segment_tiled(text)
        assert np.abs(alone.probability.astype(int) - prediction.probability).max() <= 1
    assert (together[0].probability != together[1].probability).any()


def test_batches_of_tiles_and_prompts_are_told_apart(glass, rng, monkeypatch):
    """Several tiles and several prompts in one batch: as one by one."""
    pixels = rng.integers(0, 256, (80, 90), dtype=np.uint8)
    glass.set_image(pixels)
    one_by_one = glass.segment_tiled(["a", "b", "c"])
    monkeypatch.setattr(Segmenter, "_tile_batch", 4)
    monkeypatch.setattr(Glass, "PROMPT_BATCH", 8)
    glass.model.decoded.clear()
    for ours, theirs in zip(glass.segment_tiled(["a", "b", "c"]), one_by_one, strict=True):
        np.testing.assert_array_equal(ours.probability, theirs.probability)
    assert max(glass.model.encoded) == 4 and max(glass.model.decoded) == 8


def test_tiles_report_progress_and_can_be_cancelled(glass, rng):
    glass.set_image(rng.integers(0, 256, (100, 100), dtype=np.uint8))
    fractions = []
    glass.segment_tiled("polyp", progress=fractions.append)
    assert fractions == sorted(fractions) and fractions[-1] == 1 and len(fractions) == 16

    def stop():
        if len(seen) == 3:
            raise Cancelled

    seen = []
    with pytest.raises(Cancelled):
        glass.segment_tiled("polyp", progress=seen.append, check=stop)
    assert len(seen) == 3


# Devices, precision, memory ------------------------------------------------------------------------------------------


@pytest.fixture
def fake_gpu(monkeypatch):
    """A device that the Segmenter takes for a GPU; `Glass` plays it."""
    monkeypatch.setattr("napari_medvlsm.core.inference.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("napari_medvlsm.core.inference.pick_precision", lambda *_: "float32")


def test_out_of_memory_tries_small_batches_first(fake_gpu, small_card, rng):
    notices = []
    segmenter = Segmenter(Glass(room=2), small_card, notify=notices.append)
    segmenter.set_image(rng.integers(0, 256, (40, 40), dtype=np.uint8))
    answers = segmenter.segment(["a", "b", "c"])
    assert len(answers) == 3 and not notices and segmenter.device.type == "cuda"
    assert segmenter.model.decoded == [1, 1, 1] and len(segmenter.model.encoded) == 2  # the cache was freed


def test_out_of_memory_goes_on_on_the_cpu_and_says_so(fake_gpu, small_card, rng):
    notices = []
    pixels = rng.integers(0, 256, (90, 90), dtype=np.uint8)
    segmenter = Segmenter(Glass(room=0), small_card, notify=notices.append)
    segmenter.set_image(pixels)
    assert segmenter.device.type == segmenter.model.place == "cpu" and segmenter.precision == "float32"
    assert len(notices) == 1 and "graphics card has too little free memory" in notices[0]
    on_cpu = Segmenter(Glass(), small_card)
    on_cpu.use("cpu")
    on_cpu.set_image(pixels)
    np.testing.assert_array_equal(segmenter.segment("a")[0].probability, on_cpu.segment("a")[0].probability)
    assert len(notices) == 1


def test_out_of_memory_is_told_through_the_engine(fake_gpu, small_card, rng, monkeypatch):
    monkeypatch.setattr(
        "napari_medvlsm.core.kept_base.load_segmenter",
        lambda *_, notify: Segmenter(Glass(room=0), small_card, notify=notify),
    )
    monkeypatch.setattr("napari_medvlsm.core.devices.device_name", lambda device: device.type)
    monkeypatch.setattr("napari_medvlsm.core.engine.server.weights_hash", lambda folder: "ab")
    sink = io.BytesIO()
    request = {"op": "segment", "id": 1, "model": "glass", "image": "a", "prompts": ["polyp"]}
    (probability,) = Engine(sink, set()).answer(request, [rng.integers(0, 256, (40, 40), dtype=np.uint8)])
    sink.seek(0)
    events = []
    while sink.tell() < len(sink.getvalue()):
        events.append(read_frame(sink)[0])
    assert probability.shape == (40, 40)
    assert [e["device"] for e in events if e["event"] == "running"] == ["cuda", "cpu"]
    assert ["too little free memory" in e["text"] for e in events if e["event"] == "notice"] == [True]


def test_out_of_memory_in_the_middle_of_tiles_loses_none(fake_gpu, small_card, rng):
    pixels = rng.integers(0, 256, (150, 150), dtype=np.uint8)
    segmenter = Segmenter(Glass(), small_card)
    segmenter.set_image(pixels, encode=False)
    fractions = []

    def shrink(fraction):
        fractions.append(fraction)
        segmenter.model.room = 8 - 4 * len(fractions)

    (ours,) = segmenter.segment_tiled("a", progress=shrink)
    assert segmenter.device.type == "cpu" and fractions == sorted(fractions) and fractions[-1] == 1
    segmenter = Segmenter(Glass(), small_card)
    segmenter.set_image(pixels)
    np.testing.assert_array_equal(ours.probability, segmenter.segment_tiled("a")[0].probability)


def test_too_little_memory_on_the_cpu_too_is_a_memory_error(small_card, rng):
    segmenter = Segmenter(Glass(room=0), small_card, device="cpu")
    segmenter.model.place = "elsewhere"
    with pytest.raises(MemoryError, match="too little free memory"):
        segmenter.set_image(rng.integers(0, 256, (40, 40), dtype=np.uint8))


def test_other_errors_are_not_taken_for_a_lack_of_memory(fake_gpu, small_card, rng, monkeypatch):
    segmenter = Segmenter(Glass(), small_card)
    monkeypatch.setattr(Glass, "encode_image", lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        segmenter.set_image(rng.integers(0, 256, (40, 40), dtype=np.uint8))


def test_lower_precision_is_chosen_and_its_difference_measured(small_clipseg, small_card, image):
    segmenter = Segmenter(small_clipseg, small_card, device="cpu")
    segmenter.set_image(image)
    full = segmenter.segment("polyp")[0]
    assert segmenter.precision == "float32" and segmenter.precision_difference("polyp") == 0
    segmenter.use("cpu", "bfloat16")
    difference = segmenter.precision_difference("polyp")
    low = segmenter.segment("polyp")[0]
    found = np.abs(expit(low.logits) - expit(full.logits)).max()
    assert segmenter.precision == "bfloat16" and low.logits.dtype == np.float32
    assert difference > 0 and difference == pytest.approx(found, abs=1e-3)
    assert next(small_clipseg.parameters()).dtype == torch.float32
    segmenter.use("cpu")
    np.testing.assert_array_equal(segmenter.segment("polyp")[0].logits, full.logits)


def test_starter_in_bfloat16_stays_near(samples):
    segmenter = load_segmenter(device="cpu", precision="bfloat16")
    segmenter.set_image(read_scan(samples / "skin_lesion.jpg"))
    assert 0 < segmenter.precision_difference("skin melanoma") < 0.1


def test_what_cannot_be_used_changes_nothing(segmenter, image):
    segmenter.set_image(image)
    with pytest.raises(ValueError, match=r"'cuda:99' cannot be used here\. There are: .*cpu"):
        segmenter.use("cuda:99")
    with pytest.raises(ValueError, match=r"'int4' is unknown\. Possible: float32, bfloat16"):
        segmenter.use("cpu", "int4")
    assert (str(segmenter.device), segmenter.precision) == ("cpu", "float32") and segmenter.cached_bytes > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(small_clipseg, small_card, image):
    on_cpu = Segmenter(small_clipseg, small_card, device="cpu")
    on_cpu.set_image(image)
    expected = on_cpu.segment(TEXTS)
    on_gpu = Segmenter(small_clipseg, small_card, device="cuda", precision="float32")
    on_gpu.set_image(image)
    try:
        for ours, theirs in zip(on_gpu.segment(TEXTS), expected, strict=True):
            np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-2 * theirs.logits.std())
    finally:
        small_clipseg.to("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_lower_precision_on_the_gpu_stays_near(small_clipseg, small_card, image):
    segmenter = Segmenter(small_clipseg, small_card, device="cuda")
    segmenter.set_image(image)
    try:
        assert segmenter.precision != "float32"
        assert 0 < segmenter.precision_difference("polyp") < 0.05
    finally:
        small_clipseg.to("cpu")
