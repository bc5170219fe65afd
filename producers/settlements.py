"""Times of funding settlements where an exchange's data name no intervals or no next time. Pure."""

from collections.abc import Sequence
from itertools import pairwise

from producers.figures import INTERVAL_HOURS_MAX, MS_PER_HOUR


def next_hour_ms(time_ms: int) -> int:
    """The full hour after a time.

    >>> next_hour_ms(3_600_000), next_hour_ms(7_199_999)
    (7200000, 7200000)
    """
    return (time_ms // MS_PER_HOUR + 1) * MS_PER_HOUR


def intervals_hours(times_ms: Sequence[int]) -> list[float | None]:
    """Hours between settlements at each time of one contract's history, in either order: the gap to the nearer
    neighbour, since a row may be missing; None where there is none within a day.

    >>> intervals_hours([1_789_142_400_000, 1_789_128_000_000, 1_789_099_200_000]), intervals_hours([0])
    ([4.0, 4.0, 8.0], [None])
    """
    gaps = [abs(later - earlier) for earlier, later in pairwise(times_ms)]
    hours: list[float | None] = []
    for place in range(len(times_ms)):
        around = [gap / MS_PER_HOUR for gap in gaps[max(place - 1, 0) : place + 1] if gap]
        hours.append(min(around) if around and min(around) <= INTERVAL_HOURS_MAX else None)
    return hours
