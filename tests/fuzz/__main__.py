"""`python -m tests.fuzz --cases 20000`: open so many damaged and hostile files, and say what came of them."""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.hammer import FAULTS, READ, REFUSED, Tally, hammer
from tests.fuzz.kinds import DEEP, KINDS


def main() -> int:
    """Run the hammer; 1 where it found a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="in all kinds together (default: %(default)s)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="(default: all)")
    parser.add_argument("--first", type=int, default=0, help="first seed of each kind (default: %(default)s)")
    parser.add_argument("--only", type=int, help="this one seed of each kind, with what it says")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1), help="(default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the files that found a fault")
    options = parser.parse_args()
    shares = sum(KINDS[kind].share for kind in options.kinds)
    tallies = {}
    for kind in options.kinds:
        count = max(1, round(options.cases * KINDS[kind].share / shares)) if options.only is None else 1
        first = options.first if options.only is None else options.only
        begun, tally = time.monotonic(), Tally()
        tallies[kind] = tally
        parts = [range(first + part, first + count, options.workers) for part in range(options.workers)]
        with ThreadPoolExecutor(options.workers) as pool:
            for cases in pool.map(lambda part, kind=kind: list(hammer(kind, part, options.keep)), filter(None, parts)):
                for case in cases:
                    tally.add(case)
                    if case.outcome in FAULTS or options.only is not None:
                        print(f"  {kind} {case.number}: {case.outcome}: {case.words}", flush=True)
        counts = ", ".join(f"{tally.counts[name]} {name}" for name in (READ, REFUSED, *FAULTS))
        pixels = f", {tally.decoded / max(1, count):.0%} got behind the parser" if kind in DEEP else ""
        slowest, largest = tally.slowest, tally.largest
        assert slowest is not None and largest is not None
        print(
            f"{kind}: {count} cases: {counts}{pixels}; slowest {slowest.seconds:.1f} s ({slowest.number}), most memory "
            f"{largest.megabytes:.0f} MB ({largest.number}); {time.monotonic() - begun:.0f} s",
            flush=True,
        )
    faults = sum(len(tally.faults) for tally in tallies.values())
    total = sum(sum(tally.counts.values()) for tally in tallies.values())
    print(f"{total} cases, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
