"""The four families at true size with random weights: prompts on one encoding against plain forwards, and memory.

Usage: python tests/bench/models.py [FAMILY ...]   (each family in a process of its own)

The plain forward is the obvious alternative: normalise the scan, run image encoder, text encoder (texts filled up to
the model's full length) and decoder for every prompt. The cases take turns within one run, and of each the fastest and
the median time are given: on a computer that does other work too, the fastest is the fair one, and the ratios, to the
plain forward of one prompt, are those of the fastest. With a CUDA device the same runs there, and images a second at
batches of 1, 8 and 32.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from benchmark import TEXTS, median_seconds

FAMILIES = ("clipseg", "cris", "biomedclipseg", "biomedclipseg-d")
BATCHES = (1, 8, 32)
ROUNDS = 7


def build(family: str):
    """A family at true size with random weights and a tokenizer that can read any English text."""
    import torch
    from transformers import BertTokenizer, CLIPTokenizer

    from medvlsm_training.tokenizer import build_tokenizer, clip_merges
    from napari_medvlsm.core.models import parity

    torch.manual_seed(0)
    model = parity.build("biomedclipseg" if family == "biomedclipseg-d" else family).eval()
    if isinstance(model.tokenizer, CLIPTokenizer):
        model.tokenizer = build_tokenizer(clip_merges())
    else:
        letters = "abcdefghijklmnopqrstuvwxyz,0123456789"
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
        words += sorted({word for text in TEXTS for word in text.split()})
        model.tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    return model


def full_length(model, texts: list[str]):
    """Token ids filled up to the length that the model reads at most."""
    import torch
    from torch.nn import functional

    ids = model.tokenize(texts)
    longest = getattr(getattr(model, "config", None), "context_length", 77)
    pad = {"CLIPSeg": model.tokenizer.pad_token_id, "CRIS": 0, "BiomedCLIPSeg": 0}[type(model).__name__]
    return functional.pad(ids, (0, longest - ids.shape[1]), value=pad).to(torch.long)


def prompts(model, device: str, precision: str) -> None:
    """Times of prompts on one encoding, as ratios to the plain forward, and a line on the memory."""
    import torch

    from napari_medvlsm.core.images import to_model_input
    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.models.architectures.base import repeat_for_prompts
    from napari_medvlsm.core.models.store.card import ModelCard

    card = ModelCard("x", "x", "x")
    scans = [np.random.default_rng(i).integers(0, 256, (512, 512, 3), dtype=np.uint8) for i in range(2)]
    segmenter = Segmenter(model, card, device, precision)

    def synchronised(function: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            function()
            if device == "cuda":
                torch.cuda.synchronize()

        return run

    def plain(texts: list[str]) -> None:
        for text in texts:
            pixels = torch.from_numpy(to_model_input(scans[0], model.image_size, model.mean, model.std))[None]
            with torch.inference_mode(), segmenter._computing_in(segmenter.precision):
                conditions = model.encode_tokens(full_length(model, [text]).to(model.device))
                activations = model.encode_image(pixels.to(model.device))
                model.decode(repeat_for_prompts(activations, 1), conditions).float().cpu()

    def new(texts: list[str]) -> None:
        segmenter.free_memory()
        segmenter.set_image(scans[0])
        segmenter.segment(texts, size=(model.image_size, model.image_size))

    def again(texts: list[str]) -> None:
        segmenter._texts.clear()
        segmenter.segment(texts, size=(model.image_size, model.image_size))

    cases = {
        "plain forward": lambda: plain(TEXTS[:1]),
        "first prompt": lambda: new(TEXTS[:1]),
        "second prompt": lambda: again(TEXTS[1:2]),
        "ten prompts, plain": lambda: plain(TEXTS),
        "ten prompts, new scan": lambda: new(TEXTS),
        "ten prompts, same scan": lambda: again(TEXTS),
    }
    new(TEXTS[:1])
    plain(TEXTS[:1])
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, work in cases.items():
            times[name].append(median_seconds(synchronised(work), 1))
    print(f"  on {device} in {segmenter.precision}:")
    one = min(times["plain forward"])
    for name, seconds in times.items():
        best, median = min(seconds), statistics.median(seconds)
        print(
            f"    {name:<24} {best:8.4f} s (median {median:8.4f})  {best / one:6.2f} of the plain forward", flush=True
        )
    if precision != "float32":
        print(f"    largest difference of a probability from float32: {segmenter.precision_difference(TEXTS[0]):.2g}")


def throughput(model) -> None:
    """Images a second on the GPU, one prompt an image, from pixels that are there already."""
    import torch

    from napari_medvlsm.core.devices import pick_precision

    dtype = getattr(torch, pick_precision(torch.device("cuda:0")))
    for count in BATCHES:
        pixels = torch.randn(count, 3, model.image_size, model.image_size, device="cuda")

        def run(pixels=pixels, count=count):
            with torch.inference_mode(), torch.autocast("cuda", dtype):
                model(pixels, TEXTS[:1] * count)
            torch.cuda.synchronize()

        run()
        print(f"    batch {count:2}: {count / median_seconds(run, 10):7.0f} images a second in {dtype}")
    print(f"    peak memory on the card {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


def measure(family: str) -> None:
    """Everything about one family, in this process."""
    import torch

    torch.set_num_threads(2)
    model = build(family)
    weights = sum(p.nbytes for p in model.parameters())
    print(f"{family}: {weights / 2**20:.0f} MiB of weights, {model.image_size} x {model.image_size}", flush=True)
    prompts(model, "cpu", "float32")
    # In KiB on Linux.
    print(f"    peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if torch.cuda.is_available():
        prompts(model, "cuda", "float32")
        prompts(model, "cuda", "auto")
        throughput(model)
    else:
        print("  no GPU here: skipped")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        measure(sys.argv[2])
    else:
        for name in sys.argv[1:] or FAMILIES:
            command = [sys.executable, __file__, "--here", name]
            subprocess.run(command, check=True, env=os.environ | {"TOKENIZERS_PARALLELISM": "false"})
