"""A long random log through the detector and the plain reference: every output must agree.

Forty assets, lags from none to beyond every grace, backlogs, duplicates, silent stretches, ticks. The detector gets
runs of random length, the reference record by record, some 200 a second."""

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Final

from processors.detector import Delivered
from processors.settings import DetectorSettings
from schemas.records import JournalEntry
from tests.processors.logs import Entry, new_detector, random_entries
from tests.processors.reference import Reference, step

ASSETS: Final = tuple(f"A{number:02d}" for number in range(40))
RUN_MAX: Final = 500
SAID_EVERY: Final = 100_000


def runs_of(entries: Iterator[Entry], rng: random.Random) -> Iterator[JournalEntry | list[Delivered]]:
    """Entries of the journal one by one, liquidations in runs of random length."""
    run: list[Delivered] = []
    length = rng.randint(1, RUN_MAX)
    for entry in entries:
        if isinstance(entry, JournalEntry) or len(run) == length:
            if run:
                yield run
            run, length = [], rng.randint(1, RUN_MAX)
        if isinstance(entry, JournalEntry):
            yield entry
        else:
            run.append(entry)
    if run:
        yield run


def main(arguments: list[str]) -> int:
    """Progress, the first output that differs, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(prog="compare_reference")
    parser.add_argument("--count", type=int, default=1_000_000, help="liquidations")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    detector, reference = new_detector(), Reference(DetectorSettings())
    events = outputs = 0
    begun_s, said, difference = time.perf_counter(), SAID_EVERY, ""
    for part in runs_of(random_entries(options.seed, options.count, assets=ASSETS), random.Random(options.seed)):
        events += 0 if isinstance(part, JournalEntry) else len(part)
        try:
            outputs += step(detector, reference, part)
        except AssertionError as exc:
            difference = f"after {events} events: {exc}"
            print(difference[:2_000], file=sys.stderr)
            break
        if events >= said:
            said += SAID_EVERY
            print(f"{events} events, {outputs} outputs, {time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
    result = {"seed": options.seed, "events": events, "duplicates": detector.duplicates, "outputs": outputs}
    print(json.dumps(result | {"different": int(bool(difference))}))
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
