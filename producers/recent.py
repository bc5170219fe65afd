"""Which events were seen lately, so that a row that an exchange sends again is published once."""

from collections import deque
from collections.abc import Iterable
from typing import Final

# 50,000 ids of some 70 bytes are 10 MB; at 100/s, a cascade's rate, that is eight minutes, in calm hours days.
RECENT_IDS_MAX: Final = 50_000


class RecentIds:
    """The last `size_max` ids, in the order they came; `seen`: those of before."""

    def __init__(self, seen: Iterable[str] = (), *, size_max: int = RECENT_IDS_MAX) -> None:
        self._size_max = size_max
        self._known: set[str] = set()
        self._order: deque[str] = deque()  # a dict would be searched for its oldest key over all that were removed
        for event_id in seen:
            self.is_new(event_id)

    def is_new(self, event_id: str) -> bool:
        """True the first time an id is seen, and again once `size_max` others came after it.

        >>> recent = RecentIds(size_max=2)
        >>> [recent.is_new(event_id) for event_id in "aabca"]
        [True, False, True, True, True]
        """
        if event_id in self._known:
            return False
        self._known.add(event_id)
        self._order.append(event_id)
        if len(self._order) > self._size_max:
            self._known.remove(self._order.popleft())
        return True
