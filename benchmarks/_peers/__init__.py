"""The peers' programs: each counts events and sums USD by asset in the same six hopping windows as the detector.

Each is called as PROGRAM BROKERS TOPIC EVENTS SCHEMA and prints {"events", "wall_s", "cpu_s"}, both measured from the
first record that it is handed until EVENTS are in every window. They import nothing of the project."""
