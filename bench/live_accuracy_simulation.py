"""Coverage and width of live accuracy's intervals, simulated: ``python -m bench.live_accuracy_simulation``."""

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.feedback.accuracy import Sampled, Traffic, estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A kind of traffic: outputs are right with probability ``easy``, or ``hard`` for a share ``hard_share``.

    ``noise``: of the predictor around that probability; None: there is no predictor. ``judged``: the probability that a
    drawn request is judged, of targeted ones and of the others.
    """

    name: str
    requests: int
    easy: float
    hard: float = 0.0
    hard_share: float = 0.0
    noise: float | None = None
    share: float = 0.02
    judged: tuple[float, float] = (1.0, 1.0)

    @property
    def accuracy(self) -> float:
        """The accuracy that is estimated."""
        return self.easy * (1 - self.hard_share) + self.hard * self.hard_share


SETTINGS = [
    Setting("97%, no predictor", 5_000, 0.97, share=0.01),
    Setting("97%, no predictor", 20_000, 0.97),
    Setting("90%, useless predictor", 10_000, 0.9, noise=9.0),
    Setting("90%, good predictor", 10_000, 0.98, 0.58, 0.2, noise=0.05),
    Setting("90%, good predictor", 30_000, 0.98, 0.58, 0.2, noise=0.05),
    Setting("70%, very good predictor", 10_000, 0.97, 0.07, 0.3, noise=0.02),
    Setting("90%, good predictor, targeted judged first", 20_000, 0.98, 0.58, 0.2, noise=0.05, judged=(0.95, 0.4)),
]


def simulate(setting: Setting, rounds: int, rng: np.random.Generator) -> dict[str, float]:
    """The share of rounds whose interval contains the accuracy, and the means of half widths and judgments."""
    means = dict.fromkeys(("judged", "powered", "powered_width", "plain", "plain_width"), 0.0)
    for _ in range(rounds):
        sample, traffic = _round(setting, rng)
        for name, known in (("powered", traffic), ("plain", Traffic(setting.requests))):
            interval = estimate(sample, known)
            assert interval is not None
            means[name] += float(interval.low <= setting.accuracy <= interval.high) / rounds
            means[f"{name}_width"] += interval.half_width / rounds
            means["judged"] += interval.judged / 2 / rounds
    return means


def _round(setting: Setting, rng: np.random.Generator) -> tuple[list[Sampled], Traffic]:
    n = setting.requests
    is_hard = rng.random(n) < setting.hard_share
    chance: Floats = np.where(is_hard, setting.hard, setting.easy)
    right = rng.random(n) < chance
    # The share was another one on half of the days.
    probability: Floats = np.where(np.arange(n) % 2 == 0, 0.5, 1.5) * setting.share
    drawn = np.flatnonzero(rng.random(n) < probability)
    predictor = None if setting.noise is None else np.clip(chance + rng.normal(0, setting.noise, n), 0, 1)
    sample = []
    for at in drawn:
        expected = None if predictor is None else float(predictor[at])
        is_targeted = expected is not None and expected < 0.75
        is_judged = rng.random() < setting.judged[0 if is_targeted else 1]
        sample.append(Sampled(float(probability[at]), bool(right[at]) if is_judged else None, expected, is_targeted))
    if predictor is None:
        return sample, Traffic(n)
    return sample, Traffic(n, n, float(predictor.sum()), float((predictor**2).sum()))


def main() -> None:
    """Prints the table of the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print("| Accuracy and predictor | Judged | Coverage | ± | Coverage without predictor | ± |")
    print("|---|---:|---:|---:|---:|---:|")
    for setting in SETTINGS:
        means = simulate(setting, options.rounds, rng)
        print(
            f"| {setting.name} | {means['judged']:.0f} | {100 * means['powered']:.1f}% | "
            f"{100 * means['powered_width']:.1f} | {100 * means['plain']:.1f}% | {100 * means['plain_width']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
