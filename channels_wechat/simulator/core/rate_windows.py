"""Sliding windows of the platform's rate limits (facts: wecom.md 1.2)."""

from collections import deque

from channels_wechat.simulator.core.state import World


class Windows:
    def __init__(self, world: World) -> None:
        self._world = world
        self._times: dict[tuple[str, float], deque[float]] = {}

    def full(self, key: str, most: int, seconds: float) -> bool:
        times = self._times.setdefault((key, seconds), deque())
        while times and times[0] <= self._world.now() - seconds:
            times.popleft()
        return len(times) >= most

    def count(self, key: str, seconds: float) -> None:
        self._times.setdefault((key, seconds), deque()).append(self._world.now())

    def take(self, key: str, *limits: tuple[int, float]) -> bool:
        """Count one use unless a limit (most, seconds) is reached; False when it is."""
        if any(self.full(key, most, seconds) for most, seconds in limits):
            return False
        for _, seconds in limits:
            self.count(key, seconds)
        return True
