"""A queue that is fair between clients: each gets the same share of the work, however much it has sent.

Start-time fair queueing. An item of client c and cost w gets the tag

    S = max(V, F_c)      (1)
    F_c = S + w          (2)

and the item with the least S leaves next; V is the largest tag of those that left. A client that sends one source waits
for at most one source of every other client in the queue, not for all that they have sent before. What has left the
queue is not taken back, however long it takes.

Source: Goyal, Vin, Cheng 1996, Start-time Fair Queuing, equations (4) and (5).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)
MOST_PASSED = 64  # clients whose items may not leave, before others are left for the next time
MOST_IDLE = 1000  # removed items among those that wait, and clients without waiting items in F


class FairQueue(Generic[Item]):
    """Items of several clients; not safe for threads, its owner holds a lock."""

    def __init__(self) -> None:
        self._items: dict[str, deque[tuple[float, int, Item]]] = {}  # of each client that has some, with S, in order
        self._heads: list[tuple[float, int, str]] = []  # a heap: the first item of each client, and old entries
        self._size = 0  # of all of `_items`, removed ones included
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
        own = self._items.setdefault(client, deque())
        own.append((start, next(self._number), item))
        self._size += 1
        if len(own) == 1:
            self._push_head(client)
        self._waiting[item] = (client, cost)
        self.counts[client] += 1
        self.costs[client] = self.costs.get(client, 0.0) + cost
        self.total_cost += cost

    def first(self, may_leave: Callable[[Item], bool] = lambda item: True) -> Item | None:
        """Return the next item: of the clients' first items the one with the least S that may leave.

        None if there is none among the first MOST_PASSED. The sources of a client that has just come have the least
        S of all.

        Args:
            may_leave: whether an item may leave now.
        """
        kept: list[tuple[float, int, str]] = []
        found: Item | None = None
        while found is None and self._heads and len(kept) < MOST_PASSED:
            _, number, client = self._heads[0]
            own = self._items.get(client)
            if own is None or own[0][1] != number:
                heappop(self._heads)  # an old entry
                continue
            item = own[0][2]
            if item not in self._waiting:
                own.popleft()
                self._size -= 1
                heappop(self._heads)
                self._push_head(client)
            elif may_leave(item):
                found = item
            else:
                kept.append(heappop(self._heads))
        for head in kept:
            heappush(self._heads, head)
        return found

    def pop(self, item: Item) -> None:
        """Take out an item that `first` has returned."""
        client, _ = self._waiting[item]
        self._virtual = max(self._virtual, self._items[client][0][0])
        self._forget(item)

    def remove(self, item: Item) -> bool:
        """Take out an item that no longer waits; return whether it was in the queue."""
        if item not in self._waiting:
            return False
        client, _ = self._waiting[item]
        self._forget(item)
        if not self.counts[client]:
            self._finish.pop(client, None)  # of work that was not done
        if max(self._size, len(self._heads)) > 2 * len(self._waiting) + MOST_IDLE:
            self._drop_removed()
        return True

    def _push_head(self, client: str) -> None:
        start, number, _ = self._items[client][0]
        heappush(self._heads, (start, number, client))

    def _drop_removed(self) -> None:
        """Drop all items that no longer wait."""
        self._items = {
            client: deque(entry for entry in own if entry[2] in self._waiting) for client, own in self._items.items()
        }
        self._size = len(self._waiting)
        self._heads = []
        for client in self._items:
            self._push_head(client)

    def _forget(self, item: Item) -> None:
        client, cost = self._waiting.pop(item)
        self.counts[client] -= 1
        self.costs[client] -= cost
        self.total_cost -= cost
        if not self.counts[client]:
            del self.counts[client], self.costs[client]
            self._size -= len(self._items.pop(client))
        if not self._waiting:  # nobody waits, so nobody is owed anything
            self._items, self._heads, self._size = {}, [], 0
            self._finish, self._virtual, self.total_cost = {}, 0.0, 0.0
        elif len(self._finish) > self._most_clients:
            self._finish = {name: finish for name, finish in self._finish.items() if finish > self._virtual}
            self._most_clients = 2 * len(self._finish) + MOST_IDLE
