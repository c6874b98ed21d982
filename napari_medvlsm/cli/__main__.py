"""`python -m napari_medvlsm.cli`."""

from napari_medvlsm.cli import main

raise SystemExit(main())
