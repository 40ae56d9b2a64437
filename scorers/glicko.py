"""Glicko-2: difficulty from attempts in order of time (Glickman, "Example of the Glicko-2 system").

A prompt is a player that wins when the solver fails. Inside a period everyone is updated from the
values before it; a period of 10 to 15 games a player is recommended.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_SCALE = 173.7178
_TAU = 0.5
_CLOSE = 1e-6


class Rating(NamedTuple):
    """Rating, its deviation, and volatility; a newcomer's by default."""

    rating: float = 1500.0
    deviation: float = 350.0
    volatility: float = 0.06


class Attempt(NamedTuple):
    """A solver's try at a prompt in a period."""

    solver: str
    item: str
    solved: bool
    period: int


def rate(attempts: Iterable[Attempt]) -> tuple[dict[str, Rating], dict[str, Rating]]:
    """Rate solvers and items through all periods; returns both by name.

    Whoever appears once takes part in every period from 0 to the last: without games its deviation
    grows. Within a period the order of attempts does not matter.
    """
    games = sorted(attempts, key=lambda a: (a.period, a.solver, a.item, a.solved))
    solvers = {game.solver: Rating() for game in games}
    items = {game.item: Rating() for game in games}
    by_period: dict[int, list[Attempt]] = {}
    for game in games:
        by_period.setdefault(game.period, []).append(game)
    for period in range(max(by_period, default=-1) + 1):
        of_solver: dict[str, list[tuple[Rating, float]]] = {name: [] for name in solvers}
        of_item: dict[str, list[tuple[Rating, float]]] = {name: [] for name in items}
        for game in by_period.get(period, []):
            of_solver[game.solver].append((items[game.item], float(game.solved)))
            of_item[game.item].append((solvers[game.solver], float(not game.solved)))
        solvers = {name: update(own, of_solver[name]) for name, own in solvers.items()}
        items = {name: update(own, of_item[name]) for name, own in items.items()}
    return solvers, items


def update(player: Rating, games: Sequence[tuple[Rating, float]]) -> Rating:
    """Return a player's rating after one period of (opponent before it, score 0, 0.5 or 1)."""
    mu, phi = (player.rating - 1500) / _SCALE, player.deviation / _SCALE
    if not games:
        return player._replace(deviation=_SCALE * math.hypot(phi, player.volatility))
    precision = surprise = 0.0
    for opponent, score in games:
        weight = 1 / math.sqrt(1 + 3 * (opponent.deviation / _SCALE / math.pi) ** 2)
        expected = 1 / (1 + math.exp(-weight * (mu - (opponent.rating - 1500) / _SCALE)))
        precision += weight**2 * expected * (1 - expected)
        surprise += weight * (score - expected)
    variance = 1 / precision
    volatility = _new_volatility(player.volatility, phi, variance, variance * surprise)
    after = 1 / math.sqrt(1 / (phi**2 + volatility**2) + precision)
    return Rating(_SCALE * (mu + after**2 * surprise) + 1500, _SCALE * after, volatility)


def _new_volatility(sigma: float, phi: float, variance: float, delta: float) -> float:
    """Solve for the volatility by the Illinois variant of regula falsi (Glickman, step 5)."""
    centre = math.log(sigma**2)

    def f(x: float) -> float:
        grown = phi**2 + variance + math.exp(x)
        return math.exp(x) * (delta**2 - grown) / (2 * grown**2) - (x - centre) / _TAU**2

    low = centre
    if delta**2 > phi**2 + variance:
        high = math.log(delta**2 - phi**2 - variance)
    else:
        steps = 1
        while f(centre - steps * _TAU) < 0:
            steps += 1
        high = centre - steps * _TAU
    f_low, f_high = f(low), f(high)
    while abs(high - low) > _CLOSE:
        middle = low + (low - high) * f_low / (f_high - f_low)
        f_middle = f(middle)
        if f_middle * f_high <= 0:
            low, f_low = high, f_high
        else:
            f_low /= 2
        high, f_high = middle, f_middle
    return math.exp(low / 2)
