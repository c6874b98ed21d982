"""Room in memory for a process beside the window, for which the segmentation engine may have to rest. No Qt."""

from __future__ import annotations

import psutil

from napari_medvlsm.controllers.engine import EngineController, EngineState
from napari_medvlsm.core.io.atomic import megabytes


def spare_memory(engine: EngineController, needed: int, what: str) -> str:
    """Where memory is short, let the engine rest: it is started again by the next request.

    Parameters
    ----------
    engine : EngineController
    needed : int
        Bytes.
    what : str
        What takes them, such as "a training".

    Returns
    -------
    str
        What is short and what was done about it, for people; "" where there is enough.
    """
    free = psutil.virtual_memory().available
    if free >= needed:
        return ""
    short = f"Memory is short ({megabytes(free)} free, {what} takes up to {megabytes(needed)}): "
    if engine.waiting or engine.state not in (EngineState.READY, EngineState.PREPARING, EngineState.STARTING):
        return short + "close other programs."
    engine.close()
    return short + "the segmentation engine rests meanwhile. Segment starts it again, which is slow now."
