"""The scans that ship with the starter: some that it was trained on, and some of the same sets that it was not.

Their training split is replayed where the starter is trained further, and their validation split, on which the
starter's threshold was chosen, tells what is then forgotten.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

# The split that is never replayed.
REPLAY_TEST = "val"


def shipped_replay() -> list[Path]:
    """Folders of the data sets, in the layout of lists (`layouts`)."""
    root = Path(str(resources.files("napari_medvlsm") / "data" / "replay"))
    return sorted(path.parent for path in root.glob("*/dataset.yaml"))
