"""Which lines belong together, and in which order they are read.

Of two regions the upper is read first where one stands below the other, and the left one where they
stand beside each other, unless something reaches across both between them: a headline over two
columns, or the rule between two rows of a table.
"""

from __future__ import annotations

import numpy as np

from ..images.ink import Array, Floats, Mask

# In letter heights.
PITCH = 5.0  # farthest from a line to the next of its region
LIKE = 1.4  # most times that a line's letters are as high as those of the next
SHARED = 0.2  # of the narrower region's width, that makes one stand below the other
PARAGRAPH = 1.3  # distance of two lines, in the usual one, from which a paragraph ends
MOST_REGIONS = 600  # that are ordered by more than their tops


def regions_of(boxes: Array, feet: Floats, high: Floats, rules: Array) -> list[list[int]]:
    """The numbers of the lines of each region, in reading order.

    boxes -- (N, 4) of level lines. feet -- their baselines' y. high -- their letters' height.
    rules -- boxes (M, 4) of level rules, which end regions
    """
    groups = [part for chain in _chains(boxes, feet, high, rules) for part in _split(chain, feet)]
    if not groups:
        return []
    hulls = np.array([_hull(boxes[group]) for group in groups])
    return [groups[number] for number in _ordered(hulls, rules)]


def _hull(boxes: Array) -> Array:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _shared(one: Array, other: Array) -> Floats:
    """The share of the narrower box's width that boxes stand above each other with: (N, M)."""
    left = np.maximum(one[:, None, 0], other[None, :, 0])
    right = np.minimum(one[:, None, 2], other[None, :, 2])
    widths = one[:, 2] - one[:, 0], other[:, 2] - other[:, 0]
    return (right - left) / np.maximum(np.minimum(widths[0][:, None], widths[1][None]), 1)


def _chains(boxes: Array, feet: Floats, high: Floats, rules: Array) -> list[list[int]]:
    """Lines below each other, where each has one line next to it above and one below."""
    order = np.argsort(feet, kind="stable").tolist()
    below: dict[int, list[int]] = {line: [] for line in order}
    above: dict[int, list[int]] = {line: [] for line in order}
    for place, line in enumerate(order):
        near = [
            other
            for other in order[place + 1 : place + 200]
            if feet[other] - feet[line] < PITCH * max(high[line], high[other])
        ]
        if not near:
            continue
        shared = _shared(boxes[[line]], boxes[near])[0]
        covered: list[int] = []
        for other, share in zip(near, shared.tolist(), strict=True):
            if share <= 0 or feet[other] - feet[line] < 0.5 * min(high[line], high[other]):
                continue
            if covered and (_shared(boxes[[other]], boxes[covered]) > SHARED).any():
                continue
            covered.append(other)
            below[line].append(other)
            above[other].append(line)
    following = {}
    for line, others in below.items():
        if len(others) == 1 and len(above[others[0]]) == 1:
            other = others[0]
            alike = max(high[line], high[other]) <= LIKE * min(high[line], high[other])
            if alike and not _rule_between(boxes[line], boxes[other], rules):
                following[line] = other
    return _followed(order, following)


def _rule_between(upper: Array, lower: Array, rules: Array) -> bool:
    if not len(rules):
        return False
    middle = (rules[:, 1] + rules[:, 3]) / 2
    between = ((upper[1] + upper[3]) / 2 < middle) & (middle < (lower[1] + lower[3]) / 2)
    left, right = max(upper[0], lower[0]), min(upper[2], lower[2])
    return bool((between & (rules[:, 0] < right) & (rules[:, 2] > left)).any())


def _followed(order: list[int], following: dict[int, int]) -> list[list[int]]:
    inner = {*following.values()}
    chains = []
    for line in order:
        if line in inner:
            continue
        chain = [line]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        chains.append(chain)
    return chains


def _split(chain: list[int], feet: Floats) -> list[list[int]]:
    """Paragraphs: one ends where the next line is further than usual."""
    steps = np.diff(feet[chain])
    usual = sorted(steps.tolist())[(len(steps) - 1) // 2] if len(steps) else 0.0
    parts = [chain[:1]]
    for line, step in zip(chain[1:], steps.tolist(), strict=True):
        if step > PARAGRAPH * usual:
            parts.append([])
        parts[-1].append(line)
    return parts


def _ordered(hulls: Array, rules: Array) -> list[int]:
    """The numbers of regions in the order in which they are read."""
    rows = np.lexsort((hulls[:, 0], hulls[:, 1]))
    if len(hulls) > MOST_REGIONS:
        return rows.tolist()
    before = _before(hulls, rules)
    waiting = before.sum(axis=0)
    left, found = rows.tolist(), []
    while left:
        chosen = next((n for n in left if waiting[n] <= 0), None)
        chosen = min(left, key=lambda n: waiting[n]) if chosen is None else chosen
        left.remove(chosen)
        found.append(chosen)
        waiting = waiting - before[chosen]
    return found


def _before(hulls: Array, rules: Array) -> Mask:
    """Whether the first of two regions has to be read before the second: (N, N)."""
    middle = (hulls[:, 1] + hulls[:, 3]) / 2
    upper = middle[:, None] < middle[None]
    stacked = _shared(hulls, hulls) > SHARED
    left_of = ~stacked & (hulls[:, None, 0] < hulls[None, :, 0]) & _in_columns(hulls, stacked)
    obstacles = np.concatenate([hulls, rules[:, :4]]) if len(rules) else hulls
    over = _shared(obstacles, hulls) > SHARED
    across = over[:, :, None] & over[:, None, :]
    centre = (obstacles[:, 1] + obstacles[:, 3]) / 2
    low, high = np.minimum(middle[:, None], middle[None]), np.maximum(middle[:, None], middle[None])
    blocked = np.zeros_like(upper)
    for number, y in enumerate(centre.tolist()):
        blocked |= across[number] & (low < y) & (y < high)
    return (stacked & upper) | (left_of & ~blocked)


def _in_columns(hulls: Array, stacked: Mask) -> Mask:
    """Whether two regions stand beside each other, or above or below two that do: (N, N)."""
    top, bottom = hulls[:, 1], hulls[:, 3]
    level = (top[:, None] < bottom[None]) & (top[None] < bottom[:, None])
    beside = (level & ~stacked).astype(np.float32)
    column = (stacked | np.eye(len(hulls), dtype=bool)).astype(np.float32)
    return column @ beside @ column > 0
