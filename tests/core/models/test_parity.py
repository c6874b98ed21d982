"""The small models agree with the upstream implementations' numbers, which lie in `data`."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_medvlsm.cli import main
from napari_medvlsm.core.models.parity import compare

DATA = Path(__file__).parents[1] / "data"
KEYS, LOGITS = DATA / "parity_keys.json", DATA / "parity_logits.npz"


@pytest.mark.parametrize("tag", ["clipseg_small", "cris_small", "biomedclipseg_small"])
def test_small_models_agree_with_the_reference(tag):
    with np.load(LOGITS) as expected:
        result = compare(tag, json.loads(KEYS.read_text())[tag], expected)
    assert result.relative <= 1e-4


PARITY = ("models", "parity")


def test_command_prints_a_table_and_tells_a_difference(capsys):
    files = [str(KEYS), str(LOGITS)]
    assert main([*PARITY, *files, "--tags", "clipseg_small", "cris_small"]) == 0
    assert capsys.readouterr().out.count(" met") == 2
    assert main([*PARITY, *files, "--tags", "clipseg_small", "--image-constants", "0.05", "0.3", "0.031"]) == 1
    assert "NOT MET" in capsys.readouterr().out
    assert main([*PARITY, *files, "--tags", "unet", "clipseg_small"]) == 1
    assert "not in both files" in (printed := capsys.readouterr().out) and " met" in printed


def test_entries_that_are_not_ours_are_named(tmp_path, capsys):
    keys = json.loads(KEYS.read_text())["clipseg_small"]
    other = tmp_path / "keys.json"
    other.write_text(json.dumps({"clipseg_small": {**keys, "decoder.extra.weight": [2, 2]}}))
    assert main([*PARITY, str(other), str(LOGITS)]) == 1
    assert "1 unexpected (decoder.extra.weight)" in capsys.readouterr().out


def test_unknown_tag_lists_the_known():
    with pytest.raises(ValueError, match="Known: clipseg, clipseg_small, cris"):
        compare("unet", {}, {})
