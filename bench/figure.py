"""One measured figure, and how it is printed."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A measured value beside its goal; *better* says which direction is good."""

    bench: str
    value: float
    unit: str
    goal: float
    better: Literal["lower", "higher"]

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    def as_json(self) -> str:
        """One line for a program to read."""
        return json.dumps(asdict(self) | {"value": round(self.value, 3)})


def median_seconds(action: Callable[[], object], *, rounds: int, repeats: int = 1) -> float:
    """Return the median time of *repeats* calls of *action*, over *rounds*, in seconds a call."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(repeats):
            action()
        times.append((time.perf_counter() - begun) / repeats)
    return statistics.median(times)
