"""How long one prompt and ten take with two models, in turns within one run.

Usage: python tests/bench/two_models.py MODEL OTHER [--device cpu]   (names or folders of models)

Of every case the fastest of all rounds counts, and the ratio of the two: what else the computer does touches both.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from benchmark import TEXTS

ROUNDS = 15


def main() -> None:
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.models.store.registry import find_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, metavar="MODEL")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    segmenters = []
    for name in options.models:
        entry = find_model(name)
        segmenters.append(load_segmenter(entry, options.device, "float32"))
    scan = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    cases = {"one prompt, new scan": TEXTS[:1], "ten prompts, new scan": TEXTS, "ten prompts, same scan": TEXTS}
    fastest = {case: [float("inf")] * 2 for case in cases}
    for _ in range(ROUNDS):
        for case, texts in cases.items():
            for number, segmenter in enumerate(segmenters):
                segmenter.free_memory()
                if "same" in case:
                    segmenter.set_image(scan)
                start = time.perf_counter()
                if "new" in case:
                    segmenter.set_image(scan)
                segmenter.segment(texts)
                fastest[case][number] = min(fastest[case][number], time.perf_counter() - start)
    for case, (one, other) in fastest.items():
        print(f"{case}: {one:.3f} s and {other:.3f} s, ratio {one / other:.2f}")


if __name__ == "__main__":
    main()
