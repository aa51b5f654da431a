"""A queue that is fair between clients: each gets the same share of the work, however much it has sent.

Start-time fair queueing. An item of client c and cost w gets the tag

    S = max(V, F_c)      (1)
    F_c = S + w          (2)

and the item with the least S leaves next; V is the tag of the last one that left. A client that sends one source waits
for at most one source of every other client, not for all that they have sent before.

Source: Goyal, Vin, Cheng 1996, Start-time Fair Queuing, equations (4) and (5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
MOST_IDLE = 1000  # removed items in the heap, and clients without waiting items in F


class FairQueue(Generic[Item]):
    """Items of several clients; not safe for threads, its owner holds a lock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._waiting: dict[Item, tuple[str, float]] = {}
        self._number = count()
        self._virtual = 0.0  # V
        self._finish: dict[str, float] = {}  # F
        self._most_clients = MOST_IDLE  # kept in F before those that V has passed are left out
        self.counts: Counter[str] = Counter()
        """Waiting items of each client that has some."""
        self.costs: dict[str, float] = {}
        """Their cost."""
        self.total_cost = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, item: Item, client: str, cost: float) -> None:
        """Add an item."""
        start = max(self._virtual, self._finish.get(client, 0.0))  # (1)
        self._finish[client] = start + cost  # (2)
        heappush(self._heap, (start, next(self._number), item))
        self._waiting[item] = (client, cost)
        self.counts[client] += 1
        self.costs[client] = self.costs.get(client, 0.0) + cost
        self.total_cost += cost

    def first(self) -> Item:
        """Return the next item.

        Raises:
            IndexError: there is none.
        """
        while self._heap[0][2] not in self._waiting:
            heappop(self._heap)
        return self._heap[0][2]

    def pop(self) -> Item:
        """Take out the next item.

        Raises:
            IndexError: there is none.
        """
        item = self.first()
        self._virtual, _, _ = heappop(self._heap)
        self._forget(item)
        return item

    def remove(self, item: Item) -> bool:
        """Take out an item that no longer waits; return whether it was in the queue."""
        if item not in self._waiting:
            return False
        client, _ = self._waiting[item]
        self._forget(item)
        if not self.counts[client]:
            self._finish.pop(client, None)  # of work that was not done
        if len(self._heap) > 2 * len(self._waiting) + MOST_IDLE:
            self._heap = sorted(entry for entry in self._heap if entry[2] in self._waiting)
        return True

    def _forget(self, item: Item) -> None:
        client, cost = self._waiting.pop(item)
        self.counts[client] -= 1
        self.costs[client] -= cost
        self.total_cost -= cost
        if not self.counts[client]:
            del self.counts[client], self.costs[client]
        if not self._waiting:  # nobody waits, so nobody is owed anything
            self._heap, self._finish, self._virtual, self.total_cost = [], {}, 0.0, 0.0
        elif len(self._finish) > self._most_clients:
            self._finish = {name: finish for name, finish in self._finish.items() if finish > self._virtual}
            self._most_clients = 2 * len(self._finish) + MOST_IDLE
