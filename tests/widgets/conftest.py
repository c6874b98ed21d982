"""A real viewer with the real panel and the real engine."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from napari_medvlsm.controllers.engine import EngineState
from napari_medvlsm.core.engine.client import EngineProcess
from napari_medvlsm.core.io.autosave import AutosaveStore
from napari_medvlsm.core.io.images import read_image
from napari_medvlsm.core.io.settings import Settings
from napari_medvlsm.widgets import _workers
from tests.widgets.lent_engine import EngineLender

# Mesa's software renderer and torch's Triton both bring an LLVM, and the second one to come crashes if it is Triton's.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# The engine imports torch and loads a model; two busy cores need their time.
ENGINE_MS = 90_000


@pytest.fixture(scope="session")
def lender():
    lender = EngineLender()
    yield lender
    lender.close()


@pytest.fixture(autouse=True)
def _lent_engine(lender, monkeypatch):
    """Panels get the engine of the panel before, which has imported torch; it answers as one of their own."""
    monkeypatch.setattr(_workers, "EngineProcess", lender)


@pytest.fixture
def own_engine(_lent_engine, monkeypatch):
    """Panels start and end an engine of their own, for tests of that."""
    monkeypatch.setattr(_workers, "EngineProcess", EngineProcess)


@pytest.fixture(autouse=True)
def _not_the_first_time(_own_folders):
    """The first hint was seen: napari draws its letters in a third of what opening a panel takes."""
    Settings().remember("first hint seen", "yes")


@pytest.fixture
def store(tmp_path):
    return AutosaveStore(tmp_path / "autosave")


@pytest.fixture
def open_panel(make_napari_viewer, qtbot):
    """Open a panel in a viewer of its own."""
    from napari_medvlsm.widgets.panel import Panel

    panels = []

    def opened(store, viewer=None):
        viewer = viewer or make_napari_viewer(show=True)
        panel = Panel(viewer, store)
        viewer.window.add_dock_widget(panel, name="MedVLSM", area="right")
        panels.append(panel)
        return panel

    yield opened
    while panels:
        panel = panels.pop()
        panel.close_engine()
        if panel.parent() is not None:
            panel.viewer.window.remove_dock_widget(panel)
        panel.deleteLater()
        del panel
    qtbot.wait(50)


@pytest.fixture
def panel(open_panel, store):
    return open_panel(store)


@pytest.fixture
def lesion(samples):
    """The shipped skin lesion at a fifth of its size."""
    return np.ascontiguousarray(read_image(samples / "skin_lesion.jpg").pixels[::5, ::5])


@pytest.fixture
def ready(qtbot):
    """Wait until the engine has nothing to do."""

    def wait(panel):
        qtbot.waitUntil(lambda: panel.engine.state is EngineState.READY, timeout=ENGINE_MS)

    return wait


@pytest.fixture
def segmented(panel, lesion, qtbot, ready):
    """A panel with the skin lesion outlined."""
    panel.viewer.add_image(lesion, name="lesion")
    panel.prompt_section.chosen.emit("target", "skin melanoma")
    panel.footer.segment.click()
    qtbot.waitUntil(lambda: panel.session.result is not None, timeout=ENGINE_MS)
    ready(panel)
    return panel
