"""Numbers of the README, as ratios within one run.

Usage: python tests/bench/benchmark.py [inference|wheel ...]; those of the window: tests/bench/window.py
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
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    from medvlsm_training.tokenizer import build_tokenizer, clip_merges
    from napari_medvlsm.core.effect import compare_size
    from napari_medvlsm.core.images import to_model_input
    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg
    from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
    from napari_medvlsm.core.models.store.card import ModelCard
    from napari_medvlsm.core.prompts import Attributes, build, load_vocabulary
    from napari_medvlsm.core.prompts.variants import contrasts, ladder

    torch.manual_seed(0)
    config = CLIPSegConfig(use_complex_transposed_convolution=True, reduce_dim=64, vision_config={"patch_size": 16})
    config.text_config.eos_token_id = 2
    preprocessing = Preprocessing(352, [0.5] * 3, [0.5] * 3)
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


def wheel() -> None:
    """Size of the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        (path,) = Path(folder).glob("*.whl")
        print(f"wheel: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    known = {f.__name__: f for f in (inference, wheel)}
    for name in sys.argv[1:] or known:
        known[name]()
