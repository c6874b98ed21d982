"""One contract for all model families, at small size and with random weights."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, CLIPTokenizer

from medvlsm_training.models import ClipSegSizes, clipseg_config
from medvlsm_training.tokenizer import build_tokenizer, clip_merges, cut_tokenizer
from napari_medvlsm.core.images import to_model_input
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.adapters import merge_folder, save_lora
from napari_medvlsm.core.models.architectures.base import VLSM, Conditions, repeat_for_prompts
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.architectures.cris_decoder import line_positions, plane_positions
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig
from napari_medvlsm.core.models.architectures.lora import add_lora
from napari_medvlsm.core.models.architectures.wordunet import WordUNet, WordUNetConfig
from napari_medvlsm.core.models.families import FAMILIES
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.adapter import ENCODERS, PROJECTIONS, LoraSettings
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, ModelCard, write_card

SHORT, LONG = "polyp", "skin melanoma, located in top left of the image"
TEXTS = ["small pink polyp", SHORT, LONG]


def clip_tokenizer() -> CLIPTokenizer:
    return cut_tokenizer(TEXTS)


def bert_tokenizer() -> BertTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), "polyp", "skin"]
    return BertTokenizer(vocab={word: i for i, word in enumerate(words)})


def small_clipseg() -> CLIPSeg:
    tokenizer = clip_tokenizer()
    sizes = ClipSegSizes(patch_size=16, hidden_size=48, layers=6, heads=3, text_size=32)
    config = clipseg_config(sizes, tokenizer, 64)
    config.extract_layers = [0, 1, 3]
    return CLIPSeg.from_config(config, tokenizer, 96)


CRIS_SIZES = CRISConfig(
    vision_layers=(1, 1, 1, 1),
    vision_width=8,
    vision_size=64,
    text_width=32,
    text_layers=2,
    text_heads=2,
    embed_dim=64,
    neck_widths=(16, 32, 64),
    decoder_layers=2,
    decoder_heads=4,
    decoder_mlp=64,
)


def small_cris(**options: object) -> CRIS:
    tokenizer = clip_tokenizer()
    return CRIS.from_config(replace(CRIS_SIZES, vocab_size=len(tokenizer), **options), tokenizer, 96)


def small_biomedclipseg() -> BiomedCLIPSeg:
    tokenizer = bert_tokenizer()
    config = BiomedCLIPSegConfig(
        # timm's own smallest, made for tests: 64 channels, 6 blocks, 160 x 160 pixels.
        vision="test_vit",
        embed_dim=32,
        text_width=32,
        text_layers=2,
        text_heads=2,
        text_mlp=64,
        vocab_size=len(tokenizer),
        extract_layers=(0, 1, 3),
        decoder_mlp=64,
    )
    return BiomedCLIPSeg.from_config(config, tokenizer, 160)


def small_biomedclipseg_d() -> BiomedCLIPSeg:
    sizes = ClipSegSizes(patch_size=16, hidden_size=64, layers=6, heads=2, text_size=32, decoder_mlp=64)
    return small_biomedclipseg().with_decoder_of(
        CLIPSeg.from_config(clipseg_config(sizes, clip_tokenizer(), 64), clip_tokenizer(), 64)
    )


def small_wordunet() -> WordUNet:
    tokenizer = clip_tokenizer()
    sizes = {"image_widths": (16, 12, 8, 8), "prompt_widths": (12, 8, 8, 8), "guides": 4, "width": 32}
    return WordUNet.from_config(
        WordUNetConfig(vision="mobilenet_v2", vocab_size=len(tokenizer), **sizes), tokenizer, 96
    )


def small_image_only(architecture: str, **options: object) -> ImageOnly:
    targets = ("polyp", "skin melanoma")
    return ImageOnly.from_config(ImageOnlyConfig(targets, architecture, "mobilenet_v2", **options), 96)


@dataclass(frozen=True)
class Small:
    """How to build a model small.

    `unused` are parameters that get no gradient since no answer depends on them, `first` is an entry of its weights;
    `family` where it is not its key.
    """

    build: Callable[[], VLSM]
    unused: tuple[str, ...] = ()
    first: str = "decoder.film_mul.weight"
    family: str = ""


_BIOMED_UNUSED = (
    "biomedclip.logit_scale",
    "biomedclip.visual.head",
    "biomedclip.visual.trunk.norm",
    "biomedclip.visual.trunk.blocks.5",
)
SMALL = {
    "clipseg": Small(
        small_clipseg,
        (
            "net.clip.logit_scale",
            "net.clip.visual_projection",
            "net.clip.vision_model.post_layernorm",
            "net.clip.vision_model.encoder.layers.4",
            "net.clip.vision_model.encoder.layers.5",
        ),
    ),
    "cris": Small(small_cris, ("backbone.logit_scale",), "decoder.layers.0.norm1.weight"),
    "cris, mobile": Small(
        partial(small_cris, vision="mobilenet_v2", skip_widths=(12, 8, 8)),
        ("backbone.logit_scale",),
        "decoder.layers.0.norm1.weight",
        "cris",
    ),
    "wordunet": Small(small_wordunet, first="decoder.presence.weight"),
    "biomedclipseg": Small(small_biomedclipseg, _BIOMED_UNUSED),
    "biomedclipseg-d": Small(small_biomedclipseg_d, _BIOMED_UNUSED),
    **{
        architecture: Small(partial(small_image_only, architecture, **options), first=first, family="image-only")
        for architecture, first, options in (
            ("unet", "net.decoder.blocks.0.conv1.0.weight", {"decoder_channels": (32, 24, 16, 8, 8)}),
            ("unet++", "net.decoder.blocks.x_0_0.conv1.0.weight", {"decoder_channels": (32, 24, 16, 8, 8)}),
            ("deeplabv3+", "net.decoder.aspp.0.convs.0.0.weight", {}),
        )
    },
}
VISION_LANGUAGE = [key for key, small in SMALL.items() if small.family != "image-only"]


def card_of(family: str) -> ModelCard:
    return ModelCard(name="small", title="Small", family=SMALL[family].family or family)


@pytest.fixture(scope="module", params=list(SMALL))
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(3)
    return SMALL[family].build().eval()


@pytest.fixture(scope="module")
def pixels(model):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(2, 3, model.image_size, model.image_size, generator=generator)


@pytest.fixture
def folder(tmp_path, model, family):
    model.save(tmp_path)
    write_card(card_of(family), tmp_path)
    return tmp_path


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)


def assert_close(ours, theirs, tolerance=1e-4):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * theirs.std()


def answers(model, family, image, texts):
    segmenter = Segmenter(model, card_of(family), device="cpu")
    segmenter.set_image(image)
    return np.stack([p.logits for p in segmenter.segment(texts)])


class TestEveryFamily:
    def test_forward_gives_one_map_an_image(self, model, pixels):
        with torch.no_grad():
            logits = model(pixels, [SHORT, LONG])
        assert logits.shape == (2, model.image_size, model.image_size) and logits.isfinite().all()
        assert (logits[0] - logits[1]).abs().max() > 0

    def test_everything_that_matters_gets_a_gradient(self, family, pixels):
        torch.manual_seed(3)
        model = SMALL[family].build().train()
        model(pixels, [SHORT, LONG]).square().mean().backward()
        without = [name for name, p in model.named_parameters() if p.grad is None]
        assert all(name.startswith(SMALL[family].unused) for name in without)
        assert all(any(name.startswith(prefix) for name in without) for prefix in SMALL[family].unused)
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_save_and_load_give_the_same_answer(self, model, folder, pixels, family):
        again = load_model(folder)
        assert type(again) is type(model) and not again.training
        assert (again.image_size, again.mean, again.std) == (model.image_size, model.mean, model.std)
        with torch.no_grad():
            assert_close(again(pixels, [SHORT, LONG]), model(pixels, [SHORT, LONG]))

    @pytest.mark.parametrize("size", [(37, 51), (2, 300), (64, 65, 3), (210, 33, 4)])
    def test_scans_of_any_size(self, model, family, rng, size):
        segmenter = Segmenter(model, card_of(family), device="cpu")
        segmenter.set_image(rng.integers(0, 256, size, dtype=np.uint8))
        assert segmenter.segment(SHORT)[0].probability.shape == size[:2]

    def test_batch_of_one(self, model, pixels):
        with torch.no_grad():
            one, both = model(pixels[:1], [LONG]), model(pixels, [LONG, SHORT])
        assert_close(one, both[:1])

    def test_several_prompts_at_once(self, model, family, image):
        together = answers(model, family, image, TEXTS)
        alone = np.concatenate([answers(model, family, image, [text]) for text in TEXTS])
        assert_close(together, alone)

    def test_what_is_kept_of_an_image_depends_on_the_encoders_alone(self, family, pixels):
        if SMALL[family].family == "image-only":
            pytest.skip("recipes do not keep its activations")
        torch.manual_seed(3)
        model = SMALL[family].build().eval()
        with torch.no_grad():
            before = *model.encode_frozen(pixels), model.encode_text([LONG]).sentence
            whole = model.encode_image(pixels)
            for rebuilt, tensor in zip(model.complete(before[:-1]), whole, strict=True):
                assert torch.equal(rebuilt, tensor)
            for name, parameter in model.named_parameters():
                if not name.startswith(f"{model.ENCODERS}."):
                    parameter.add_(1)
            after = *model.encode_frozen(pixels), model.encode_text([LONG]).sentence
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))

    def test_float16_activations_change_the_answer_little(self, model, pixels):
        with torch.no_grad():
            exact = model.encode_frozen(pixels)
            conditions = model.encode_text([SHORT, LONG])
            whole = model.decode(model.complete(exact), conditions)
            rounded = model.decode(model.complete(tuple(a.half().float() for a in exact)), conditions)
        error = (rounded - whole).abs().max() / whole.abs().max()
        assert 0 < error < 1e-3  # measured: 1e-6 to 3e-4; 7e-4 for CLIPSeg at true size

    def test_cached_is_as_uncached(self, model, family, image, rng):
        segmenter = Segmenter(model, card_of(family), device="cpu")
        segmenter.set_image(image)
        first = np.stack([p.logits for p in segmenter.segment([LONG, SHORT])])
        segmenter.set_image(rng.integers(0, 256, (20, 20), dtype=np.uint8))
        segmenter.segment("something else, longer than the others were, to be kept beside them")
        segmenter.set_image(image)
        again = np.stack([p.logits for p in segmenter.segment([SHORT, TEXTS[0], LONG])])
        assert_close(again[[2, 0]], first)
        assert_close(again, answers(model, family, image, [SHORT, TEXTS[0], LONG]))

    def test_padding_of_a_text_batch_does_not_change_an_answer(self, model, pixels):
        with torch.no_grad():
            image = model.encode_image(pixels[:1])
            alone = model.decode(image, model.encode_text([SHORT]))
            padded = model.encode_text([SHORT, LONG])
            joined = Conditions.join([*model.encode_text([SHORT]).split(), *model.encode_text([LONG]).split()])
            assert_close(model.decode(image, padded[:1]), alone)
            assert_close(model.decode(image, joined[[0]]), alone)

    def test_text_longer_than_the_model_reads(self, model, pixels):
        with torch.no_grad():
            assert model(pixels[:1], ["polyp, " * 400]).isfinite().all()

    def test_what_is_cached_has_one_row_an_image(self, model, pixels):
        with torch.no_grad():
            activations = model.encode_image(pixels)
        assert isinstance(activations, tuple) and {len(a) for a in activations} == {2}
        assert {len(a) for a in repeat_for_prompts(activations, 3)} == {6}

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_gpu_agrees_with_cpu(self, model, family, image):
        expected = answers(model, family, image, TEXTS)
        segmenter = Segmenter(model, card_of(family), device="cuda", precision="float32")
        segmenter.set_image(image)
        try:
            assert_close([p.logits for p in segmenter.segment(TEXTS)], expected, tolerance=1e-2)
        finally:
            model.to("cpu")

    def test_lower_precision_answers_nearly_the_same(self, model, family, image):
        segmenter = Segmenter(model, card_of(family), device="cpu", precision="bfloat16")
        segmenter.set_image(image)
        assert segmenter.segment(TEXTS)[0].logits.dtype == np.float32
        tiles = segmenter.segment_tiled(TEXTS, tile=40)
        assert {t.probability.shape for t in tiles} == {image.shape[:2]}
        logits = np.stack([p.logits for p in segmenter.segment(TEXTS)])
        expected = answers(model, family, image, TEXTS)
        assert 0 < np.abs(logits - expected).mean() < 0.05 * expected.std()

    def test_weights_that_do_not_fit_are_named(self, folder, family):
        weights, name = load_file(folder / WEIGHTS_FILE), SMALL[family].first
        name = next(key for key in weights if key.endswith(name))
        del weights[name]
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=rf"miss.*{name}"):
            load_model(folder)

    def test_broken_weights_give_a_sentence(self, folder):
        (folder / WEIGHTS_FILE).write_bytes(b"no weights at all")
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_model(folder)

    def test_pickled_weights_are_never_opened(self, folder):
        class Evil:
            def __reduce__(self):
                return (open, (str(folder / "executed"), "w"))

        torch.save(Evil(), folder / WEIGHTS_FILE)
        with pytest.raises(ValueError, match="cannot be loaded"):
            load_model(folder)
        assert not (folder / "executed").exists()

    @pytest.mark.parametrize("prefix", ["", "net.", "net.clipseg.", "module."])
    def test_reference_checkpoints_go_in_under_any_trainers_names(self, family, model, pixels, prefix):
        state = {prefix + name: value for name, value in model.upstream.state_dict().items()}
        fresh = SMALL[family].build().eval().from_upstream_state_dict(state | {f"{prefix}text.position_ids": 0})
        with torch.no_grad():
            assert_close(fresh(pixels, [SHORT, LONG]), model(pixels, [SHORT, LONG]))

    def test_reference_checkpoints_that_do_not_fit_are_reported_by_name(self, family, model):
        state = model.upstream.state_dict()
        names = list(state)
        wrong = {name: value for name, value in state.items() if name not in names[:5]}
        wrong |= {"aux.weight": torch.zeros(1), names[-1]: torch.zeros(7, 7)}
        sentence = (
            rf"5 missing \({names[0]}, .*\.\.\.\); 1 unexpected \(aux\.weight\); 1 misshapen \({names[-1]} \(7, 7\)"
        )
        with pytest.raises(ValueError, match=sentence):
            SMALL[family].build().from_upstream_state_dict(wrong)


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


def test_every_family_has_its_small_model():
    assert {small.family or key for key, small in SMALL.items()} == set(FAMILIES)


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


def test_unknown_family_lists_the_known(folder):
    write_card(ModelCard(name="small", title="Small", family="sam"), folder)
    with pytest.raises(
        ValueError, match=r"'sam'\. Known: clipseg, cris, biomedclipseg, biomedclipseg-d, wordunet, image-only"
    ):
        load_model(folder)


def test_joined_conditions_keep_order_and_mark_padding():
    def conditions(value, length):
        words = torch.full((1, length, 2), float(value))
        return Conditions(torch.full((1, 3), float(value)), words, torch.zeros(1, length, dtype=torch.bool))

    joined = Conditions.join([conditions(1, 2), conditions(2, 4)])
    assert joined.words.shape == (2, 4, 2) and len(joined) == 2
    assert joined.padding.tolist() == [[False, False, True, True], [False] * 4]
    assert joined[[1, 0]].sentence[:, 0].tolist() == [2.0, 1.0]


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


def test_biomedclipseg_never_looks_for_its_vision_model_on_a_hub():
    with pytest.raises(ValueError, match="no vision transformer that timm knows"):
        BiomedCLIPSegConfig(vision="hf-hub:someone/something")


def test_image_sizes_that_a_model_cannot_take_are_refused():
    with pytest.raises(ValueError, match="test_vit takes images of 160 x 160 pixels, not 224"):
        BiomedCLIPSeg.from_config(small_biomedclipseg().config, bert_tokenizer(), 224)
    with pytest.raises(ValueError, match="multiple of 32, but is 100"):
        CRIS.from_config(CRIS_SIZES, clip_tokenizer(), 100)


def test_random_decoder_is_tame():
    decoder = small_biomedclipseg().decoder
    assert max(p.abs().max() for p in decoder.film_mul.parameters()) < 1


def test_cris_tokenises_as_clip_does():
    model = CRIS.from_config(replace(CRIS_SIZES, text_width=32), build_tokenizer(clip_merges()), 96)
    texts = ["A small, pink polyp; located in the top-left of the image!", SHORT]
    expected = SimpleTokenizer()(texts)
    ids = model.tokenize(texts)
    assert torch.equal(ids, expected[:, : ids.shape[1]]) and not expected[:, ids.shape[1] :].any()
    assert model.tokenize(["polyp " * 200]).shape == (1, 77)


def test_cris_reads_padding_where_the_release_did():
    torch.manual_seed(2)
    upstream = small_cris().eval()
    release = small_cris(attend_padding=True).eval()
    release.load_state_dict(upstream.state_dict())
    pixels = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        conditions = release.encode_text([SHORT])
        assert conditions.words.shape[1] == 77 and not conditions.padding.any()
        torch.testing.assert_close(conditions.sentence, upstream.encode_text([SHORT]).sentence)
        assert (release(pixels, [SHORT]) - upstream(pixels, [SHORT])).abs().max() > 0
        # Several prompts, alone and together, are the same there too.
        both = release(pixels.expand(2, -1, -1, -1), [SHORT, LONG])
        assert_close(both[:1], release(pixels, [SHORT]))


def test_positions_of_cris_by_hand():
    line = line_positions(3, 4)
    np.testing.assert_allclose(line[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)], rtol=1e-5)
    plane = plane_positions(2, 3, 8)
    # Row 1, column 2 is pixel 5: x = 2 in the first four channels, y = 1 in the others.
    torch.testing.assert_close(plane[5], torch.cat([line[2], line[1]]))


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: CRIS.from_config(CRISConfig(), CLIPTokenizer()), 146_849_122),
        (lambda: BiomedCLIPSeg.from_config(BiomedCLIPSegConfig(), BertTokenizer()), 197_029_730),
    ],
    ids=["cris", "biomedclipseg"],
)
def test_as_many_parameters_as_the_papers(build, parameters):
    with torch.device("meta"):
        model = build()
    assert sum(p.numel() for p in model.parameters()) == parameters


class TestEncoderOfTheLibrary:
    def test_what_it_cannot_be_is_said(self):
        for unknown in ("resnet5", "tu-resnet5"):
            with pytest.raises(ValueError, match=f"no encoder '{unknown}'"):
                small_cris(vision=unknown, skip_widths=(8, 8, 8))
        for elsewhere in ("tu-hf-hub:someone/something", "tu-local-dir:/somewhere"):
            with pytest.raises(ValueError, match=f"must be one that .* knows, not '{elsewhere}'"):
                small_cris(vision=elsewhere, skip_widths=(8, 8, 8))
        with pytest.raises(ValueError, match="mit_b0 does not halve the image five times"):
            small_cris(vision="mit_b0", skip_widths=(8, 8, 8))
        for options in ({"skip_widths": (8, 8, 8)}, {"vision": "mobilenet_v2"}):
            with pytest.raises(ValueError, match="skip_widths are 3 numbers with an encoder"):
                replace(CRIS_SIZES, **options)

    def test_a_saved_folder_asks_no_hub(self, monkeypatch, tmp_path):
        made = SMALL["cris, mobile"].build()
        made.save(tmp_path)
        write_card(ModelCard("small", "Small", "cris"), tmp_path)
        monkeypatch.setattr(
            "segmentation_models_pytorch.encoders.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked")
        )
        assert load_model(tmp_path).config == made.config

    def test_its_finest_level_reaches_the_answer(self):
        """One bright pixel more or less, which the pyramid at a sixteenth hardly sees."""
        torch.manual_seed(1)
        made = SMALL["cris, mobile"].build().eval()
        pixels = torch.zeros(1, 3, 96, 96)
        with torch.no_grad():
            *pyramid, eighth, quarter, half = made.encode_image(pixels)
            said = made.encode_text([SHORT])
            before = made.decode((*pyramid, eighth, quarter, half), said)
            changed = half.clone()
            changed[..., 24, 24] += 1
            after = made.decode((*pyramid, eighth, quarter, changed), said)
        where = (before - after).abs()[0] > 1e-6
        assert where[48, 48] and where.float().mean() < 0.04


class TestImageOnly:
    @pytest.fixture(scope="class")
    def small(self):
        torch.manual_seed(3)
        config = ImageOnlyConfig(("lungs", "left lung", "gall-stone"), "unet", "mobilenet_v2", (32, 24, 16, 8, 8))
        return ImageOnly.from_config(config, 64).eval()

    @pytest.mark.parametrize(
        ("text", "plane"),
        [
            ("lungs", 1),
            ("outline the Lungs, please", 1),
            ("left lung", 2),
            ("the gall-stone", 3),
            ("small gall stone", 3),
            ("right lung", 0),
            ("knee joint", 0),
            ("galling stones", 0),
            ("", 0),
        ],
    )
    def test_a_name_picks_its_plane_and_nothing_else_does(self, small, text, plane):
        assert small.tokenize([text]).tolist() == [[plane]]

    def test_describing_words_change_nothing_and_a_foreign_name_outlines_nothing(self, small, image):
        segmenter = Segmenter(small, ModelCard("small", "Small", "image-only"), device="cpu")
        segmenter.set_image(image)
        plain, described, foreign, empty = segmenter.segment(["lungs", "tiny lungs, on the left", "knee joint", ""])
        assert np.array_equal(plain.probability, described.probability)
        assert not foreign.probability.any() and not empty.probability.any()

    def test_adapters_are_refused_in_a_sentence(self, small):
        with pytest.raises(ValueError, match="no attention to put adapters on; train all of it"):
            add_lora(small, LoraSettings(2))

    def test_what_it_cannot_be_is_said(self, small):
        for wrong, sentence in (({"architecture": "unett"}, "there are unet, unet"), ({"targets": ()}, "names of its")):
            with pytest.raises(ValueError, match=sentence):
                ImageOnlyConfig(**({"targets": ("polyp",)} | wrong))
        for unknown in ("resnet5", "tu-resnet5"):
            with pytest.raises(ValueError, match=f"no encoder '{unknown}'"):
                ImageOnly.from_config(replace(small.config, encoder=unknown), 64)
        for elsewhere in ("tu-hf-hub:someone/something", "tu-local-dir:/somewhere"):
            with pytest.raises(ValueError, match=f"must be one that .* knows, not '{elsewhere}'"):
                ImageOnly.from_config(replace(small.config, encoder=elsewhere), 64)
        with pytest.raises(ValueError, match="multiple of 32, but is 100"):
            ImageOnly.from_config(small.config, 100)

    def test_an_encoder_that_the_library_takes_from_timm_is_one_too(self):
        config = ImageOnlyConfig(("polyp",), "unet", "timm-mobilenetv3_small_minimal_100", (32, 24, 16, 8, 8))
        assert ImageOnly.from_config(config, 64).parameter_count() > 0

    def test_a_saved_folder_asks_no_hub(self, small, monkeypatch, tmp_path):
        small.save(tmp_path)
        write_card(ModelCard("small", "Small", "image-only"), tmp_path)
        monkeypatch.setattr(
            "segmentation_models_pytorch.encoders.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked")
        )
        assert load_model(tmp_path).config == small.config

    def test_the_library_is_imported_only_where_such_a_model_is_made(self):
        code = (
            "import sys, medvlsm_training.models, napari_medvlsm.core.models.architectures.image_only\n"
            "print('segmentation_models_pytorch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "False"

    @pytest.mark.parametrize(
        ("architecture", "parameters"), [("unet", 32_521_105), ("unet++", 48_985_745), ("deeplabv3+", 26_677_585)]
    )
    def test_as_many_parameters_as_the_papers(self, architecture, parameters):
        with torch.device("meta"):
            model = ImageOnly.from_config(ImageOnlyConfig(("polyp",), architecture))
        assert model.parameter_count() == parameters
