"""What the window may import."""

import subprocess
import sys


def test_data_sets_come_without_torch_and_without_a_window():
    code = (
        "import pkgutil, sys, importlib, napari_medvlsm.core.datasets as p\n"
        "names = [m.name for m in pkgutil.iter_modules(p.__path__)]\n"
        "[importlib.import_module(f'{p.__name__}.{name}') for name in names]\n"
        "print(len(names), *sorted({'torch', 'qtpy', 'napari', 'medvlsm_training'} & {*sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert int(found[0]) > 8 and found[1:] == []
