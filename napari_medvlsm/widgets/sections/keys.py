"""Which key does what, for the buttons, the shortcuts, and the page of keys in the guide.

napari's own keys for a labels layer stay as they are and are shown on the buttons; ours are letters that napari uses
for no kind of layer (`tests/widgets/test_tools.py` asks napari).
"""

from __future__ import annotations

# napari's, which hold while the correction is the active layer: name of the tool, key.
NAPARI_KEYS = {"paint": "P", "erase": "E", "fill": "F", "polygon": "3"}
SMALLER_KEY, LARGER_KEY = "[", "]"
# napari's undo and redo of a labels layer; in the panel they also take back answers.
UNDO_KEYS, REDO_KEYS = "Ctrl+Z", "Ctrl+Shift+Z"
# Ours: pointing, and clicking parts.
POINTING_KEYS = {"include": "W", "exclude": "N", "keep": "K", "drop": "Shift+K"}
# Ours: edits of the whole outline.
EDIT_KEYS = {"smooth": "Q", "grow": "G", "shrink": "Shift+G", "copy": "J"}
# Ours: how the outline is shown.
FILLED_KEY, HIDE_KEY = "U", "H"
ADD_NEXT_KEY = "F2"
# Ours: answers in a project.
SUBMIT_KEY, NOT_THERE_KEY, REOPEN_KEY = "F3", "F4", "F6"


def short(key: str) -> str:
    """A key as it stands on a button, where there is little room: with the sign that keyboards have for Shift."""
    return f"⇧{key.replace('Shift+', '')}" if "Shift+" in key else key
