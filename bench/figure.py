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
    """A measured value beside its goal, if it has one; *better* says which direction is good."""

    bench: str
    value: float
    unit: str
    goal: float | None
    better: Literal["lower", "higher"]

    @property
    def reached(self) -> bool:
        """Whether the goal is met; where there is none, it is."""
        if self.goal is None:
            return True
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    def as_json(self) -> str:
        """One line for a program to read."""
        return json.dumps(asdict(self) | {"value": round(self.value, 3)})

    def as_text(self) -> str:
        """One line for a person to read."""
        word = "reached" if self.reached else "MISSED"
        verdict = "no goal" if self.goal is None else f"goal {self.goal} {word}"
        return f"{self.bench}: {self.value:.3f} {self.unit}, {verdict}"


def median_seconds(
    action: Callable[[], object],
    *,
    rounds: int,
    repeats: int = 1,
    before: Callable[[], object] | None = None,
) -> float:
    """Return the median time of *repeats* calls of *action*, over *rounds*, in seconds a call.

    *before* is called ahead of each round and not counted.
    """
    times = []
    for _ in range(rounds):
        if before is not None:
            before()
        begun = time.perf_counter()
        for _ in range(repeats):
            action()
        times.append((time.perf_counter() - begun) / repeats)
    return statistics.median(times)
