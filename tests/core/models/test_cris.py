"""What is particular to CRIS: its tokenizer, its decoder and the encoders of smp."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer

from medvlsm_training.tokenizer import build_tokenizer, clip_merges
from napari_medvlsm.core.models.architectures.cris import CRIS
from napari_medvlsm.core.models.architectures.cris_decoder import line_positions, plane_positions
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import ModelCard, write_card
from tests.core.models.small_models import CRIS_SIZES, LONG, SHORT, SMALL, assert_close, small_cris


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
