"""The measurements of a benchmark run, and the numbers derived from them."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from contenders import CONTENDERS, REFERENCE
from loads import Load
from numpy.typing import NDArray
from processes import FirstUse, Growth
from products import PRODUCTS, attention_flops, linear_flops
from turns import Beside, Crowd

TOLERANCE = 1e-4
"""A component that differs by more is not rounding: the vectors are different."""


@dataclass(frozen=True)
class Spread:
    """A median, and the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Agreement:
    """How far vectors are from the reference's."""

    largest: float
    """Difference of any one component."""
    cosine: float
    """Mean over the texts."""

    @classmethod
    def of(cls, vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> "Agreement":
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
        cosines = (vectors * reference).sum(axis=1) / lengths
        return cls(float(np.abs(vectors - reference).max()), float(cosines.mean()))


@dataclass(frozen=True)
class Results:
    """Everything that was measured; a dictionary's keys are the contenders' names, a list has an element a round."""

    machine: dict[str, str]
    left_out: dict[str, str]
    """Contenders that this version cannot run, and why."""
    loads: dict[str, Load]
    agreements: dict[str, Agreement]
    seconds: dict[str, dict[str, list[float]]]
    """Of a whole load, by the load's name."""
    products: dict[str, list[float]]
    """GFLOP/s by the names of `PRODUCTS`, from the rounds of the paragraphs."""
    latencies: dict[str, list[list[float]]]
    """Seconds of each query alone; a round is a block of them."""
    crowds: dict[str, list[Crowd]]
    besides: dict[str, list[Beside]]
    """By the small call, for embedry alone."""
    first_uses: dict[str, list[FirstUse]]
    growths: list[Growth]

    def names(self) -> list[str]:
        """The contenders that ran."""
        return list(self.agreements)

    def wrong(self, name: str) -> bool:
        """Whether a contender that must give the reference's vectors gives others."""
        return CONTENDERS[name].exact and not self.agreements[name].largest <= TOLERANCE

    def ratio(self, load: str, name: str) -> Spread:
        """How many times the reference's speed, round by round."""
        seconds = self.seconds[load]
        return Spread.of([theirs / own for own, theirs in zip(seconds[name], seconds[REFERENCE], strict=True)])

    def rate(self, load: str, name: str) -> float:
        """Texts a second."""
        return len(self.loads[load].texts) / statistics.median(self.seconds[load][name])

    def token_rate(self, load: str, name: str) -> float:
        """Real tokens a second."""
        return self.loads[load].tokens / statistics.median(self.seconds[load][name])

    def fastest_products(self, name: str) -> str:
        """The products that a contender is compared with: the fastest ones in its precision."""
        precision = CONTENDERS[name].precision
        alike = [product for product in self.products if PRODUCTS[product].precision == precision]
        return max(alike, key=lambda product: statistics.median(self.products[product]))

    def share(self, name: str) -> Spread:
        """What part of the rate of its matrix products alone the contender reaches on the paragraphs, round by round."""
        load = self.loads["paragraphs"]
        flops = linear_flops(load.tokens) + sum(map(attention_flops, load.lengths))
        rates = self.products[self.fastest_products(name)]
        return Spread.of(
            [flops / seconds / 1e9 / rate for seconds, rate in zip(self.seconds[load.name][name], rates, strict=True)]
        )

    def latency(self, name: str, percent: float) -> float:
        """Seconds that so many percent of the queries do not exceed."""
        return percentile([seconds for block in self.latencies[name] for seconds in block], percent)

    def latency_ratio(self, name: str) -> Spread:
        """A query's time relative to the reference's: the medians of the blocks, round by round."""
        both = zip(self.latencies[name], self.latencies[REFERENCE], strict=True)
        return Spread.of([statistics.median(own) / statistics.median(theirs) for own, theirs in both])

    def first_use(self, name: str, value: Callable[[FirstUse], float]) -> Spread:
        """Of one measurement of fresh processes."""
        return Spread.of([value(use) for use in self.first_uses[name]])


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of all do not exceed."""
    return float(np.percentile(values, percent))
