"""One module a benchmark, each with `run()` that returns a JSON object; where it can be, a ratio within one run."""
