"""Numbers of the README, as ratios within one run.

Usage: python tests/bench/benchmark.py [inference|slider|opening|wheel ...]   (under a display for slider and opening)
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TEXTS = [
    "polyp",
    "skin melanoma",
    "foot ulcer",
    "lungs",
    "left lung",
    "right lung",
    "breast tumor",
    "cell nuclei",
    "small polyp",
    "large polyp",
]


def median_seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def inference() -> None:
    """CLIPSeg rd64 at true size, random weights, CPU: prompts on one encoding against plain forwards."""
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTImageProcessor

    from medvlsm_training.tokenizer import build_tokenizer, clip_merges
    from napari_medvlsm.core.effect import compare_size
    from napari_medvlsm.core.images import to_model_input
    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
    from napari_medvlsm.core.models.store.card import ModelCard
    from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary
    from napari_medvlsm.core.prompts.variants import contrasts, ladder

    torch.manual_seed(0)
    config = CLIPSegConfig(use_complex_transposed_convolution=True, reduce_dim=64, vision_config={"patch_size": 16})
    config.text_config.eos_token_id = 2
    preprocessing = ViTImageProcessor(size={"height": 352, "width": 352}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    model = CLIPSeg(CLIPSegForImageSegmentation(config).eval(), build_tokenizer(clip_merges()), preprocessing)
    rng = np.random.default_rng(0)
    scans = [rng.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(6)]

    def plain(texts: list[str]) -> None:
        array = torch.from_numpy(to_model_input(scans[0], 352, model.mean, model.std))[None]
        tokens = model.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")
        with torch.no_grad():
            model.net(pixel_values=array.repeat(len(texts), 1, 1, 1), **tokens)

    plain(TEXTS[:1])
    one, ten = median_seconds(lambda: plain(TEXTS[:1])), median_seconds(lambda: plain(TEXTS), 3)

    def segmenter() -> Segmenter:
        return Segmenter(model, ModelCard("x", "x", "clipseg"), device="cpu")

    def first() -> None:
        fresh = segmenter()
        fresh.set_image(scans[0])
        fresh.segment(TEXTS[0])

    ready = segmenter()
    ready.set_image(scans[0])
    used = iter(range(10**6))
    said = Attributes("polyp", "one", "small", "pink", "round", "top left")
    vocabulary = load_vocabulary()
    rungs = [prompt.text for prompt in ladder(said, vocabulary)]
    badge = [v.prompt.text for v in contrasts(build(said, vocabulary), {}, vocabulary)]
    small = compare_size((512, 512))

    def _fresh(texts: list[str]) -> list[str]:
        """The texts with something that no cache has seen."""
        return [f"{text} {next(used)}" for text in texts]

    rows = {
        "first prompt (encode and decode)": (median_seconds(first), one),
        "second prompt (new words, same scan)": (
            median_seconds(lambda: ready.segment(f"{TEXTS[0]} {next(used)}")),
            one,
        ),
        "ten prompts on a new scan": (
            median_seconds(lambda: (fresh := segmenter(), fresh.set_image(scans[1]), fresh.segment(TEXTS)), 3),
            ten,
        ),
        "badge: what the words do, on the same scan": (
            median_seconds(lambda: ready.segment(_fresh(badge), size=small)),
            one,
        ),
        "ladder: all levels and the badge's wordings, on the same scan": (
            median_seconds(lambda: ready.segment(_fresh(rungs + badge), size=small), 3),
            one,
        ),
    }
    print(f"plain forward: one prompt {one:.3f} s, ten prompts {ten:.3f} s")
    for name, (seconds, against) in rows.items():
        print(f"{name}: {seconds:.3f} s, {seconds / against:.3f} of the plain forward of {against:.3f} s")
    print(f"(the badge has {len(badge)} wordings, the ladder {len(rungs) + len(badge)})")


def slider() -> None:
    """Threshold slider on a 2048 x 2048 scan, in a real window: with and without the panel's own work."""
    from napari.layers import Labels

    viewer, panel, process = _window()
    scan = np.random.default_rng(0).integers(0, 256, (2048, 2048), dtype=np.uint8)
    viewer.add_image(scan, name="scan")
    panel._settle_scan()
    y, x = np.mgrid[-1:1:2048j, -1:1:2048j]
    probability = np.clip(255 * (1 - np.hypot(x, y)), 0, 255).astype(np.uint8)
    panel.session._take([_result(panel, probability)], [probability])
    layer: Labels = panel.book.prediction(panel._layer, "polyp")
    masks = [(panel.session.result.probability >= t).view(np.uint8) for t in range(60, 200, 10)]
    process()
    draw, ours = [], []
    for i, mask in enumerate(masks):
        start = time.perf_counter()
        layer.data[...] = mask
        layer.refresh()
        process()
        draw.append(time.perf_counter() - start)
        start = time.perf_counter()
        panel.result_section.slider.setValue(30 + 3 * (i % 15))
        process()
        ours.append(time.perf_counter() - start)
    drawn, moved = statistics.median(draw) * 1000, statistics.median(ours) * 1000
    print(
        f"threshold slider, 2048 x 2048: {moved:.1f} ms a move, of which drawing alone takes {drawn:.1f} ms "
        f"({moved - drawn:.1f} ms are the panel's)"
    )
    panel.close_engine()
    viewer.close()


def opening() -> None:
    """Opening the panel against a bare napari start, each in a process of its own."""
    bare = "import napari; v = napari.Viewer(); from qtpy.QtWidgets import QApplication as A; A.processEvents()"
    panel = (
        "from napari_medvlsm.widgets.app import open_window; v, p = open_window([]); "
        "from qtpy.QtWidgets import QApplication as A; A.processEvents()"
    )
    times = {}
    for name, code in (("bare", bare), ("panel", panel)):
        command = [sys.executable, "-c", f"{code}\nimport os; os._exit(0)"]
        times[name] = median_seconds(lambda c=command: subprocess.run(c, check=True, capture_output=True), 5)
    print(
        f"window with panel: {times['panel']:.2f} s, bare napari: {times['bare']:.2f} s, "
        f"ratio {times['panel'] / times['bare']:.2f}"
    )


def wheel() -> None:
    """Size of the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        (path,) = Path(folder).glob("*.whl")
        print(f"wheel: {path.stat().st_size / 1e6:.1f} MB")


def _window():
    from qtpy.QtWidgets import QApplication

    from napari_medvlsm.widgets.app import open_window

    viewer, panel = open_window([])
    return viewer, panel, QApplication.processEvents


def _result(panel, probability):
    from napari_medvlsm.controllers.session import Result
    from napari_medvlsm.core.prompts import Attributes, Prompt

    prompt = Prompt("polyp", "p1", Attributes("polyp"))
    return Result(panel.session.scan_hash, panel.session.model, prompt, "polyp", probability)


if __name__ == "__main__":
    known = {f.__name__: f for f in (opening, inference, slider, wheel)}
    for name in sys.argv[1:] or known:
        known[name]()
