import json
import math

import pytest
from transformers import ViTImageProcessor

from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing


def test_transformers_reads_what_is_written(tmp_path):
    Preprocessing(224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).write(tmp_path)
    theirs = ViTImageProcessor.from_pretrained(tmp_path)
    assert (theirs.size["height"], theirs.size["width"]) == (224, 224)
    assert list(theirs.image_mean) == [0.1, 0.2, 0.3] and list(theirs.image_std) == [0.4, 0.5, 0.6]
    assert theirs.do_normalize and theirs.do_rescale and math.isclose(theirs.rescale_factor, 1 / 255)
    assert Preprocessing.read(tmp_path) == Preprocessing(224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize("size", [{"height": 96, "width": 96}, 96, {"shortest_edge": 96}])
def test_what_transformers_writes_is_read(tmp_path, size):
    ViTImageProcessor(size={"height": 96, "width": 96}, image_mean=[0.5] * 3, image_std=[0.25] * 3).save_pretrained(
        tmp_path
    )
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"size": size}), "utf-8")
    assert Preprocessing.read(tmp_path) == Preprocessing(96, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.mark.parametrize(
    ("side", "mean", "std", "sentence"),
    [
        (None, (0, 0, 0), (1, 1, 1), "side of its images"),
        (True, (0, 0, 0), (1, 1, 1), "side of its images"),
        (4097, (0, 0, 0), (1, 1, 1), "from 16 to 4096"),
        (96, "abc", (1, 1, 1), "image_mean must be three numbers"),
        (96, (0, math.nan, 0), (1, 1, 1), "image_mean must be three numbers"),
        (96, (0, 0, 0), (1, 1), "image_std must be three numbers"),
        (96, (0, 0, 0), (1, 0, 1), "image_std must be three numbers"),
        (96, (0, 0, 0), None, "image_std must be three numbers"),
    ],
)
def test_numbers_that_no_image_can_be_brought_to_are_refused(side, mean, std, sentence):
    with pytest.raises(ValueError, match=sentence):
        Preprocessing(side, mean, std)
