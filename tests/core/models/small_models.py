"""Models of all families at small size and with random weights, and how their answers are compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from transformers import BertTokenizer, CLIPTokenizer

from medvlsm_training.models import ClipSegSizes, clipseg_config
from medvlsm_training.tokenizer import cut_tokenizer
from napari_medvlsm.core.inference import Segmenter
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig
from napari_medvlsm.core.models.architectures.wordunet import WordUNet, WordUNetConfig
from napari_medvlsm.core.models.store.card import ModelCard

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
    sizes = ClipSegSizes(patch_size=16, hidden_size=64, layers=6, heads=2, text_size=32, decoder_mlp=64)
    config = clipseg_config(sizes, tokenizer, 64)
    config.extract_layers = [0, 1, 3]
    return CLIPSeg.from_config(config, tokenizer, 64)


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
    return small_biomedclipseg().with_decoder_of(small_clipseg())


def small_wordunet() -> WordUNet:
    tokenizer = clip_tokenizer()
    sizes = {"image_widths": (16, 12, 8, 8), "prompt_widths": (12, 8, 8, 8), "guides": 4, "width": 32}
    config = WordUNetConfig(vision="mobilenet_v2", vocab_size=len(tokenizer), **sizes)
    return WordUNet.from_config(config, tokenizer, 96)


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


def assert_close(ours, theirs, tolerance=1e-4):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * theirs.std()


def answers(model, family, image, texts):
    segmenter = Segmenter(model, card_of(family), device="cpu")
    segmenter.set_image(image)
    return np.stack([p.logits for p in segmenter.segment(texts)])
