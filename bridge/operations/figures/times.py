"""How long answers took, as a histogram: percentiles of any sum of hours and agents come from it, which no stored percentile allows.

With a quarter or less from one bound to the next above three seconds, a percentile is as exact as anybody reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Upper bounds in seconds; one more bucket has what took longer than the last.
BOUNDS = (
    0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 33, 40, 50, 60, 75, 90, 110, 135, 165, 200, 240, 300,
    360, 450, 540, 660, 800, 1000, 1200, 1500, 1800, 2400, 3600, 7200, 21600, 86400,
)  # fmt: skip
BUCKETS = len(BOUNDS) + 1


def percentile(times: Sequence[int], share: float) -> float | None:
    """Return how many seconds this share (0 to 1) of the answers took at most; None where there was no answer.

    times: how many there were in each bucket. Within a bucket they count as evenly spread; beyond the last bound, as the bound.
    """
    rank, below = sum(times) * share, 0
    for bucket, count in enumerate(times):
        if count and below + count >= rank:
            if bucket == len(BOUNDS):
                return float(BOUNDS[-1])
            low = BOUNDS[bucket - 1] if bucket else 0.0
            return low + (BOUNDS[bucket] - low) * max(0.0, rank - below) / count
        below += count
    return None
