"""The long run: random faults, some at a time, on agents, collector and store, and the counts of what came of it.

python -m tests.integration.faults --faults 500 --seed 7

Each stage has processes and a seed of its own, so that one that fails can be played by itself. Which faults there are,
in which order and for how long, is up to the seed; what they meet with is up to the machine.
"""

import argparse
import random
import sys
import time
from collections import Counter
from math import ceil

from tests.integration.faults.fault import Kind, Target
from tests.integration.faults.random_stage import FAULTS, play
from tests.integration.faults.verdict import Verdict


def main() -> int:
    """The exit status: 0 if nothing was lost, doubled or named wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.faults")
    parser.add_argument("--faults", type=int, default=500, help="at least so many")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the first stage")
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + ceil(given.faults / FAULTS))
    print(f"seed {given.seed}: {len(seeds)} stages of {FAULTS} faults", flush=True)
    begun, whole, counts, failed = time.monotonic(), Verdict(), Counter[tuple[Target, Kind]](), []
    for seed in seeds:
        stage, verdict = play(seed)
        counts += stage.counts
        whole += verdict
        print(
            f"{time.monotonic() - begun:5.0f} s  stage {seed}: {'failed' if verdict.wrong else 'all went well'}",
            flush=True,
        )
        if verdict.wrong:
            failed.append(seed)
            print("\n".join([verdict.text(), *sorted(stage.history)]), flush=True)
    print(f"{'faults':12}{sum(counts.values())}")
    for target in Target:
        print(f"{f'  {target}':12}{', '.join(f'{counts[target, kind]} {kind}' for kind in Kind)}")
    print(whole.text())
    for seed in failed:
        print(f"again: make test-faults SEED={seed} FAULTS={FAULTS}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
