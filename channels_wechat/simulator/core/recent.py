"""A dict that forgets: a simulator that runs for weeks must not grow."""

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
LOOK_AT = 100  # of the oldest entries, when the very oldest may not go yet


class Recent(dict[K, V]):
    """The newest `most` entries, in the order in which they were first set. may_go: an entry that must stay is skipped and stays.

    on_drop: called with each value that goes.
    """

    def __init__(
        self,
        most: int,
        may_go: Callable[[V], bool] = lambda _value: True,
        on_drop: Callable[[V], object] = lambda _value: None,
    ) -> None:
        super().__init__()
        self.most, self.may_go, self.on_drop = most, may_go, on_drop

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self.most and (oldest := self._oldest(key)) is not None:
            self.on_drop(self.pop(oldest))

    def _oldest(self, new: K) -> K | None:
        first = (key for _number, key in zip(range(LOOK_AT), self, strict=False))
        return next((key for key in first if key != new and self.may_go(self[key])), None)
