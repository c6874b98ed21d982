"""One contract for all model families, at small size and with random weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, CLIPTokenizer

from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.architectures.base import Conditions, repeat_for_prompts
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.families import FAMILIES
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, ModelCard, write_card
from tests.core.models.small_models import (
    CRIS_SIZES,
    LONG,
    SHORT,
    SMALL,
    TEXTS,
    answers,
    assert_close,
    bert_tokenizer,
    card_of,
    clip_tokenizer,
    small_biomedclipseg,
)

# What trainers put before the names of weights; each is tried on two families or three.
PREFIXES = ("", "net.", "net.clipseg.", "module.")


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

    def test_reference_checkpoints_go_in_under_any_trainers_names(self, family, model, pixels):
        prefix = PREFIXES[list(SMALL).index(family) % len(PREFIXES)]
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


def test_every_family_has_its_small_model():
    assert {small.family or key for key, small in SMALL.items()} == set(FAMILIES)


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


def test_image_sizes_that_a_model_cannot_take_are_refused():
    with pytest.raises(ValueError, match="test_vit takes images of 160 x 160 pixels, not 224"):
        BiomedCLIPSeg.from_config(small_biomedclipseg().config, bert_tokenizer(), 224)
    with pytest.raises(ValueError, match="multiple of 32, but is 100"):
        CRIS.from_config(CRIS_SIZES, clip_tokenizer(), 100)


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
