"""What the folder of a project says to the tab "Improve"."""

import shutil

from napari_medvlsm.controllers.outlook import Options, look
from napari_medvlsm.core.improve.rounds import RoundState
from tests.core.improve.conftest import new_round, store  # noqa: F401  (fixtures)
from tests.core.improve.test_rounds import with_model


def test_results_that_cannot_be_read_keep_nobody_from_deciding(store, new_round, model_folder):  # noqa: F811
    round_ = with_model(new_round(), model_folder)  # whose results are empty
    found = look(store, Options())
    assert found.view.state is RoundState.FINISHED and found.verdict is None
    assert "holds no results of `medvlsm evaluate`" in found.unread
    assert [model.name for model in found.outlook.models] == ["starter", "1"]
    for folder in (round_.before, round_.after):
        shutil.rmtree(folder)
    assert (look(store, Options()).view.state, round_.measured) == (RoundState.TRAINED, False)
