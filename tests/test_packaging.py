import importlib
import subprocess
import sys
import tomllib
import zipfile
from importlib import resources
from pathlib import Path

import pytest
import yaml
from npe2 import PluginManifest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_installed_manifest_is_the_file():
    installed = resources.files("napari_medvlsm_manifest") / "napari.yaml"
    assert installed.read_text() == (ROOT / "napari.yaml").read_text(), "install the package again"


def test_manifest_is_valid_found_and_has_one_widget():
    manifest = PluginManifest.from_distribution("napari-medvlsm")
    assert manifest.display_name == "MedVLSM" and len(manifest.contributions.widgets) == 1
    assert len(manifest.contributions.sample_data) >= 3
    PluginManifest.from_file(ROOT / "napari.yaml")
    subprocess.run([sys.executable, "-m", "npe2", "validate", "napari-medvlsm"], check=True, capture_output=True)


def test_every_command_of_the_manifest_imports():
    commands = yaml.safe_load((ROOT / "napari.yaml").read_text())["contributions"]["commands"]
    for command in commands:
        module, name = command["python_name"].split(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_every_sample_opens():
    from napari_medvlsm.widgets import samples

    commands = yaml.safe_load((ROOT / "napari.yaml").read_text())["contributions"]["commands"]
    names = [c["python_name"].split(":")[1] for c in commands if "samples" in c["python_name"]]
    for name in names:
        ((pixels, options, kind),) = getattr(samples, name)()
        assert kind == "image" and pixels.size and options["name"]


def test_wheel_holds_both_packages_manifest_models_and_licences(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        points = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    for name in (
        "napari_medvlsm/py.typed",
        "napari_medvlsm/data/prompts/vocabulary.yaml",
        "napari_medvlsm/data/prompts/families/chest_xray.yaml",
        "napari_medvlsm/data/datasets/kvasir_polyp.yaml",
        "napari_medvlsm/data/models/starter/model.safetensors",
        "napari_medvlsm/data/models/starter/LICENSE",
        "napari_medvlsm/data/samples/LICENSE",
        "medvlsm_training/recipes/starter.yaml",
        "medvlsm_training/report.html.j2",
        "medvlsm_training/evaluation/paraphrases.yaml",
        "medvlsm_training/recipes/paper/zero_shot.yaml",
        "medvlsm_training/recipes/best/models/deeplabv3+.yaml",
        "napari_medvlsm_manifest/napari.yaml",
    ):
        assert name in names
    assert not any(name.startswith(("tests", "training", "runs")) for name in names)
    assert "napari_medvlsm.widgets.app:main" in points and "napari_medvlsm.cli:main" in points
    assert wheel.stat().st_size < 20e6


def test_wheel_works_from_elsewhere(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import napari_medvlsm, medvlsm_training, sys\n"
        "from napari_medvlsm.core.models.store.registry import find_model\n"
        "print(napari_medvlsm.__file__, find_model('starter').card.title)"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n{code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert str(tmp_path) in done.stdout and "Starter" in done.stdout


def test_dependencies_name_no_qt_binding():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert not any(d.lower().startswith(("pyqt", "pyside")) for d in project["dependencies"])
    assert "napari<0.10" in project["optional-dependencies"]["pyqt5"] and "pyqt6" in project["optional-dependencies"]


def test_importing_the_package_is_instant():
    code = "import sys, napari_medvlsm; print([m for m in ('torch', 'napari', 'qtpy', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_start_of_the_window_waits_for_nothing_that_is_used_later():
    late = {"scipy.ndimage", "scipy.sparse", "skimage.graph", "tifffile", "ruamel.yaml", "matplotlib.figure"}
    late |= {"napari_medvlsm.controllers.project", "napari_medvlsm.core.projects.store"}
    code = f"import sys, napari_medvlsm.widgets.panel; print(sorted({late} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
