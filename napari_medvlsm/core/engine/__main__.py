"""`python -m napari_medvlsm.core.engine`: started by the viewer, ends with it."""

from napari_medvlsm.core.engine.server import main

main()
