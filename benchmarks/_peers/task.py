"""What the Python programs share: the arguments, the windows, the decoder and the watch."""

import io
import json
import os
import sys
import time
from typing import Any, Final

import fastavro

WINDOWS_MS: Final = ((100, 5_000), (500, 5_000), (2_000, 5_000), (10_000, 5_000), (60_000, 30_000), (300_000, 30_000))
STEPS: Final = 10  # windows that an event is in, of each size
HEADER_BYTES: Final = 5  # magic byte and schema id
BROKERS, TOPIC, EVENTS, SCHEMA_FILE = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
SCHEMA: Final = fastavro.schema.load_schema(SCHEMA_FILE)


def decode(value: bytes) -> dict[str, Any]:
    """The fields of a liquidation."""
    plain: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), SCHEMA, None)
    return plain


class Watch:
    """Ends the process with one line of JSON when `events` have been seen, each `times` times."""

    def __init__(self, events: int, times: int = 1) -> None:
        self._events, self._sights, self._seen = events, events * times, 0
        self._started_s = self._started_cpu_s = 0.0

    def see(self) -> None:
        """An event is in its windows. The first sight starts the clock and is not counted."""
        if not self._seen:
            self._started_s, self._started_cpu_s = time.perf_counter(), time.process_time()
        self._seen += 1
        if self._seen > self._sights:
            figures = {
                "events": self._events,
                "wall_s": time.perf_counter() - self._started_s,
                "cpu_s": time.process_time() - self._started_cpu_s,
            }
            print(json.dumps(figures), file=sys.__stdout__, flush=True)  # Faust takes sys.stdout for its log
            os._exit(0)  # nothing that these libraries do at their end is of interest
