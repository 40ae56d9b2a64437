"""A tree of named features with frequencies: counting, growing, sampling (EpiCoder).

A feature is a path of names from the root, as ("algorithm", "sorting", "quick sort"). Counts map a
path to how often that very feature was named; a name that is both a leaf and a branch keeps both.
Wang et al., "EpiCoder", ICML 2025, arXiv 2501.04694, and the official code where it says more.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.schema import trial_seed
from pipeline.selectors import draw

Path = tuple[str, ...]
Counts = Mapping[Path, float]

_FLAT = 100.0  # a temperature from which on all are alike (official code)


def leaves(features: Any, above: Path = ()) -> list[Path]:
    """Return the leaves of nested objects, lists and words, in order; anything else is no feature.

    An empty object or list is a leaf of its own name.
    """
    if isinstance(features, str):
        return [(*above, features.strip())] if features.strip() else []
    if isinstance(features, Mapping):
        found = [
            leaf for key, part in features.items() for leaf in leaves(part, (*above, str(key)))
        ]
    elif isinstance(features, list):
        found = [leaf for part in features for leaf in leaves(part, above)]
    else:
        return []
    return found or ([above] if above else [])


def count_features(trees: Iterable[Any], *, depth: int = 4) -> dict[Path, float]:
    """Count the leaves of many trees, cut to `depth` names (the official code: 3 below a root)."""
    counts: dict[Path, float] = {}
    for tree in trees:
        for leaf in leaves(tree):
            counts[leaf[:depth]] = counts.get(leaf[:depth], 0.0) + 1.0
    return dict(sorted(counts.items()))


def frequencies(counts: Counts) -> dict[Path, float]:
    """Return the frequency of every node: its own count and those of all below it."""
    found: dict[Path, float] = {}
    for path, count in counts.items():
        for length in range(1, len(path) + 1):
            found[path[:length]] = found.get(path[:length], 0.0) + count
    return found


def prune(
    counts: Counts,
    *,
    smallest: int = 3,
    widest: int = 50,
    collapse: Literal["children", "sum"] = "children",
) -> dict[Path, float]:
    """Collapse branches of fewer than `smallest` children; keep the `widest` best of each level.

    A collapsed branch below a root counts its children (official code) or the `sum` of their
    frequencies. Branches stand before leaves, higher frequencies before lower, then names.
    """
    kept = dict(counts)
    below = _children(kept)
    for node in sorted(below, key=len, reverse=True):
        children = _children(kept).get(node, [])
        if len(node) > 1 and 0 < len(children) < smallest:
            gone = {path: kept.pop(path) for path in list(kept) if path[: len(node)] == node}
            own = gone.pop(node, 0.0)
            kept[node] = own + (sum(gone.values()) if collapse == "sum" else len(children))
    return _narrow(kept, widest)


def _narrow(counts: Counts, widest: int) -> dict[Path, float]:
    below, total = _children(counts), frequencies(counts)
    shut: set[Path] = set()
    for children in below.values():
        ranked = sorted(children, key=lambda path: (path not in below, -total[path], path))
        shut.update(ranked[widest:])
    return {
        path: count
        for path, count in sorted(counts.items())
        if not any(path[:length] in shut for length in range(1, len(path) + 1))
    }


def temper(weights: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Return chances in proportion to weights to the power 1 / temperature; float64, sum 1.

    Weights below 1 (unseen features) count as 1e-9 of a share at least; from 100 on all are alike.
    """
    shares = np.asarray(weights, np.float64)
    shares = shares / shares.sum()
    if abs(temperature) >= _FLAT:
        return np.full(len(shares), 1 / len(shares))
    logs = np.log(shares + 1e-9) / temperature
    powers = np.exp(logs - logs.max())
    chances: NDArray[np.float64] = powers / powers.sum()
    return chances


def sample_subtree(
    counts: Counts,
    shape: Sequence[int],
    *,
    temperature: float = 1.0,
    by: Literal["frequency", "descendants"] = "frequency",
    forced: Sequence[str] = (),
    seed: int,
) -> list[Path]:
    """Draw shape[d] children of every node at depth d, without replacement; return the leaves.

    What lies deeper than the shape is kept whole. `forced` roots are taken first and count towards
    the first number. A node's draw depends on the seed and its path alone.
    """
    weights = frequencies(counts) if by == "frequency" else _descendants(counts)
    below = _children(counts)
    found: list[Path] = []
    pending: list[Path] = [()]
    while pending:
        node = pending.pop()
        children = below.get(node, [])
        if not children:
            found.append(node)
        elif len(node) >= len(shape):
            pending += children
        else:
            must = [path for path in children if not node and path[0] in forced]
            free = [path for path in children if path not in must]
            pending += must
            pending += _draw_children(
                free, weights, shape[len(node)] - len(must), temperature, seed
            )
    return sorted(path for path in found if path)


def _draw_children(
    children: Sequence[Path], weights: Counts, k: int, temperature: float, seed: int
) -> list[Path]:
    if not children or k <= 0:
        return []
    chances = temper([max(weights[path], 1e-9) for path in children], temperature)
    own = trial_seed(seed, "/".join(children[0][:-1]), "feature_tree", 0)
    taken = draw(chances, k, seed=own, ids=["/".join(path) for path in children])
    return [children[place] for place in taken]


def grow(
    counts: Counts,
    sampled: Sequence[Path],
    grown: Sequence[Path],
    *,
    siblings: Literal["own", "descendants"] = "own",
) -> dict[Path, float]:
    """Merge what an evolution of `sampled` leaves made into the tree; known features stay.

    A new feature counts as the mean frequency of its siblings in the sampled subtree, else as the
    mean of its parent's children in the tree, else 1. `siblings="descendants"` averages over all
    that lies below the parent, as the official code does where the paper says siblings.
    """
    total, below = frequencies(counts), _children(counts)
    known = {path[:length] for path in sampled for length in range(1, len(path) + 1)}
    made = dict(counts)
    for path in dict.fromkeys(grown):
        if path in total:
            continue
        parent = path[:-1]
        near = [
            one
            for one in known
            if len(one) > len(parent) and one[: len(parent)] == parent and one in total
            if siblings == "descendants" or len(one) == len(path)
        ]
        values = [total[one] for one in near or below.get(parent, [])]
        made[path] = fmean(values) if values else 1.0
    return dict(sorted(made.items()))


def _children(counts: Counts) -> dict[Path, list[Path]]:
    nodes = sorted({path[:length] for path in counts for length in range(1, len(path) + 1)})
    below: dict[Path, list[Path]] = {}
    for node in nodes:
        below.setdefault(node[:-1], []).append(node)
    return below


def _descendants(counts: Counts) -> dict[Path, float]:
    """Return the number of nodes at and below each node."""
    return frequencies(dict.fromkeys(frequencies(counts), 1.0))


def as_json(paths: Iterable[Path]) -> Any:
    """Return leaves as nested objects; a node whose children are all leaves becomes a list."""
    tree: dict[str, Any] = {}
    for path in paths:
        node = tree
        for name in path:
            node = node.setdefault(name, {})
    return {name: _as_lists(part) for name, part in tree.items()}


def _as_lists(tree: dict[str, Any]) -> Any:
    if any(tree.values()):
        return {name: _as_lists(part) for name, part in tree.items()}
    return list(tree)
