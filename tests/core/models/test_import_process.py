"""Imports in a process of their own."""

import shutil

import pytest

from napari_medvlsm.core.models.checkpoints.import_process import import_in_process
from napari_medvlsm.core.models.store.card import read_card
from napari_medvlsm.core.models.store.naming import ModelExists
from napari_medvlsm.core.models.store.registry import user_models_folder


class Stopped(Exception):
    pass


def test_an_import_in_a_process_can_be_stopped_and_leaves_nothing(model_folder):
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 2:  # the process runs, and has not imported torch yet
            raise Stopped

    with pytest.raises(Stopped):
        import_in_process(model_folder, "mine", check=check)
    assert not user_models_folder().exists() or not list(user_models_folder().iterdir())


def test_a_stopped_import_takes_its_unfinished_folder_along(model_folder):
    """As if the process had begun to write, with a model of this name and one of another that are not its own."""
    models = user_models_folder()
    others = [models / ".mine-aaaaaaaa", models / ".mine-old-bbbbbbbb", models / ".mine-2-cccccccc", models / "mine"]
    others[0].mkdir(parents=True)

    def check():
        for path in (*others[1:], models / ".mine-dddddddd"):
            path.mkdir()
        raise Stopped

    with pytest.raises(Stopped):
        import_in_process(model_folder, "mine", check=check)
    assert sorted(models.iterdir()) == sorted(others)


@pytest.mark.slow
def test_an_import_in_a_process_gives_the_folder_or_a_sentence(model_folder, tmp_path):
    place = user_models_folder() / "small"
    shutil.copytree(model_folder, place)
    before = (place / "model_card.json").stat().st_ino
    with pytest.raises(ModelExists):
        import_in_process(model_folder, "small")
    made = import_in_process(model_folder, "small", replace_existing=True)
    assert made == place and read_card(made).name == "small" and (place / "model_card.json").stat().st_ino != before
    with pytest.raises(ValueError, match=r"^There is no file .*gone\.ckpt"):
        import_in_process(tmp_path / "gone.ckpt")
