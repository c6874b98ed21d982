"""Every way by which napari opens files, led to the panel: drop, menus, Ctrl+O, and its command line.

All of them end in one method of napari's window, `QtViewer._qt_open`, which asks the person for a reader wherever two
can read a file, and makes a stack of a folder. While a panel is open in a viewer, what is given to that method goes to
the panel; without one, napari does what it always does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

from napari._qt.qt_viewer import QtViewer
from napari.utils.notifications import show_warning

from napari_medvlsm.core.io.listing import dicom_refused, list_scans

PLUGIN = "napari-medvlsm"
Open = Callable[[Sequence[Path], Callable[[Sequence[Path]], str]], None]

# By the id of a viewer: how its panel opens files, and what waits for a panel that is about to be made.
_panels: dict[int, Open] = {}
_waiting: dict[int, list[Path]] = {}


def lead_to(viewer: Any, opened: Open) -> list[Path]:
    """Lead all ways into a viewer to `opened` from now on; gives back what napari's command line named before."""
    _panels[id(viewer)] = opened
    return _waiting.pop(id(viewer), [])


def lead_back(viewer: Any) -> None:
    """Let napari open files by itself again."""
    _panels.pop(id(viewer), None)


def _install() -> None:
    original = QtViewer._qt_open

    @wraps(original)
    def opened(
        self: Any,
        filenames: list[str],
        stack: Any = False,
        choose_plugin: bool = False,
        plugin: str | None = None,
        layer_type: Any = None,
        **kwargs: Any,
    ) -> None:
        by_napari = choose_plugin or layer_type is not None or plugin not in (None, PLUGIN)
        urls = [name for name in filenames if "://" in name]
        paths = [Path(name) for name in filenames if name not in urls]
        panel = _panels.get(id(self.viewer))
        # napari's command line opens files before it makes the panel that it was asked for, and before it shows itself.
        before_panel = panel is None and not self.window().isVisible()
        if isinstance(stack, list):
            paths, stack = [*paths, *(Path(name) for some in stack for name in some)], False
        if panel is None and not before_panel:
            original(self, filenames, stack, choose_plugin, plugin, layer_type, **kwargs)
        elif by_napari:
            if dicom := list_scans(paths).dicom:
                show_warning(f"{dicom_refused(dicom)}.")
            else:
                original(self, filenames, stack, choose_plugin, plugin, layer_type, **kwargs)
        else:
            if urls:
                original(self, urls, False, plugin=plugin, **kwargs)
            if paths and panel is not None:
                panel(paths, lambda others: _by_napari(self, others))
            elif paths:
                _waiting.setdefault(id(self.viewer), []).extend(paths)

    def _by_napari(qt_viewer: Any, paths: Sequence[Path]) -> str:
        problems = []
        for path in paths:
            try:
                original(qt_viewer, [str(path)], False)
            except Exception as error:  # whatever a reader of another plugin raises
                problems.append(f"{path.name} cannot be opened ({str(error).rstrip('.') or type(error).__name__})")
        return "; ".join(problems)

    # Shared by all windows of the process, as the method is.
    QtViewer._qt_open = opened


_install()
