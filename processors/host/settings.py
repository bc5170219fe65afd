"""Settings of the host around the detector."""

from pydantic import Field

from runtime.settings import Section


class HostSettings(Section):
    """How the worker holds its partitions."""

    group: str = Field("liqcascade-detector", description="consumer group; the topic prefix is put before it")
    instance: str = Field(
        "", description="stable name of this worker in the group; empty: host name and the first number that is free"
    )
    snapshot_interval_ms: int = Field(
        10_000, ge=100, le=600_000, description="how often the state is written to its topic"
    )
    tick_interval_ms: int = Field(200, ge=20, le=10_000, description="how often silence is let in")
