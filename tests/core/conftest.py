"""Models of all families with few parameters, as builders by family, for files that go in and out."""

from __future__ import annotations

import os

import pytest

from napari_medvlsm.core.process import ChildProcess

SMALL_TEXTS = ["small pink polyp", "a dark spot, located in the top left of the image"]


@pytest.fixture(scope="session")
def small_texts():
    return SMALL_TEXTS


@pytest.fixture(scope="session")
def small_builders():
    """By family, a function that builds a model with the same random weights each time."""
    import torch
    from transformers import BertTokenizer

    from medvlsm_training.models import ClipSegSizes, clipseg_config
    from medvlsm_training.tokenizer import cut_tokenizer
    from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
    from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
    from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig

    clip = cut_tokenizer(SMALL_TEXTS)
    letters = "abcdefghijklmnopqrstuvwxyz,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), "polyp", "pink"]
    bert = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    sizes = ClipSegSizes(patch_size=16, hidden_size=64, layers=6, heads=2, text_size=32, decoder_mlp=64)

    def clipseg():
        config = clipseg_config(sizes, clip, 64)
        config.extract_layers = [0, 1, 3]
        return CLIPSeg.from_config(config, clip, 64)

    def cris():
        config = CRISConfig(
            vision_layers=(1, 1, 1, 1),
            vision_width=8,
            vision_size=64,
            text_width=32,
            text_layers=2,
            text_heads=2,
            vocab_size=len(clip),
            embed_dim=64,
            neck_widths=(16, 32, 64),
            decoder_layers=2,
            decoder_heads=4,
            decoder_mlp=64,
        )
        return CRIS.from_config(config, clip, 96)

    def biomedclipseg():
        config = BiomedCLIPSegConfig(
            vision="test_vit",
            embed_dim=32,
            text_width=32,
            text_layers=2,
            text_heads=2,
            text_mlp=64,
            vocab_size=len(bert),
            extract_layers=(0, 1, 3),
            decoder_mlp=64,
        )
        return BiomedCLIPSeg.from_config(config, bert, 160)

    def seeded(build):
        def made():
            torch.manual_seed(3)
            return build().eval()

        return made

    builders = {"clipseg": clipseg, "cris": cris, "biomedclipseg": biomedclipseg, "biomedclipseg-d": biomedclipseg}
    return {family: seeded(build) for family, build in builders.items()}


@pytest.fixture(scope="session")
def small_model_like(small_builders, tmp_path_factory):
    """By family, a folder with the configuration, preprocessing and tokenizer of the small model."""
    from napari_medvlsm.core.models.store.card import WEIGHTS_FILE

    folders = {}
    for family, build in small_builders.items():
        folders[family] = tmp_path_factory.mktemp(family)
        build().save(folders[family])
        (folders[family] / WEIGHTS_FILE).unlink()
    return folders


@pytest.fixture
def child(tmp_path):
    """Start a script as a module of its own; what still runs after the test is ended."""
    started = []

    def start(script, *arguments, **more):
        (tmp_path / "a_child.py").write_text(script, "utf-8")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        started.append(ChildProcess("a_child", arguments, environment={"PYTHONPATH": path}, **more))
        return started[-1]

    yield start
    for process in started:
        process.close()
