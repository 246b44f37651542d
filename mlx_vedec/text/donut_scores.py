"""How well Donut's documents are read (arXiv:2111.15664, section 3): field F1 and tree accuracy.

Both compare JSON as `tidied` leaves it, so that the order of an object's fields does not count, nor
whether a single value stands in a list. The order of a list's items counts for the tree only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from .error_rates import AS_IS, Normalization, Share, edit_distance


def field_share(prediction: Any, reference: Any, normalization: Normalization = AS_IS) -> Share:
    """What one document adds to field F1: twice the fields in common, and the fields of both.

    A field is a leaf: its text and the keys above it, without places in lists. One that comes twice
    counts twice. Over many documents this is the micro-averaged F1, 2 TP / (2 TP + FP + FN).

    >>> tea = {"menu": [{"nm": "Tea"}, {"nm": "Rice"}], "sum": "9"}
    >>> field_share({"menu": {"nm": "Tea"}, "sum": "8"}, tea)
    Share(part=2, whole=5)
    """
    found = Counter(_fields(tidied(prediction, normalization)))
    wanted = Counter(_fields(tidied(reference, normalization)))
    return Share(2 * (found & wanted).total(), found.total() + wanted.total())


def tree_share(prediction: Any, reference: Any, normalization: Normalization = AS_IS) -> Share:
    """What one document adds to the mean of `tree_accuracy`."""
    return Share(tree_accuracy(prediction, reference, normalization), 1)


def tree_accuracy(prediction: Any, reference: Any, normalization: Normalization = AS_IS) -> float:
    """max(0, 1 - TED(prediction, reference) / TED(nothing, reference)), 0 to 1.

    TED is `tree_edit_distance`; nothing is a root alone. Where the reference has no fields, 1 for a
    prediction without any and 0 for others.

    >>> tree_accuracy({"nm": "Tee", "sum": "9"}, {"nm": "Tea", "sum": "9"})  # 1 edit of 6
    0.8333333333333334
    """
    found, wanted = (tree_of(tidied(d, normalization)) for d in (prediction, reference))
    size = sum(node.cost for node in wanted[:-1])
    distance = tree_edit_distance(found, wanted)
    return max(0.0, 1 - distance / size) if size else float(not distance)


# --- documents as they are compared


def tidied(data: Any, normalization: Normalization = AS_IS) -> Any:
    """A document with its fields sorted, every value in a list, and what is empty left out.

    Fields are sorted by the length of their names, then by the names.

    A list keeps its objects if it has nothing else, otherwise its texts.

    >>> tidied({"total": 9, "nm": ["Tea", ""], "tax": {}})
    {'nm': ['Tea'], 'total': ['9']}
    """
    if isinstance(data, Mapping):
        keys = sorted(data, key=lambda key: (len(key), key))
        tidy = {key: tidied(data[key], normalization) for key in keys}
        return {key: v if isinstance(v, list) else [v] for key, v in tidy.items() if v}
    items = data if isinstance(data, (list, tuple)) else [data]
    if all(isinstance(item, Mapping) for item in items):
        return [tidy for item in items if (tidy := tidied(item, normalization))]
    leaves = [item for item in items if not isinstance(item, (Mapping, list, tuple))]
    texts = ("" if leaf is None else normalization(str(leaf).strip()) for leaf in leaves)
    return [text for text in texts if text]


def _fields(tidy: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(tidy, str):
        yield path, tidy
    elif isinstance(tidy, list):
        for item in tidy:
            yield from _fields(item, path)
    else:
        for key, value in tidy.items():
            yield from _fields(value, (*path, key))


# --- trees


class Node(NamedTuple):
    """A node of a tree, which is the list of its nodes from the bottom up (post-order).

    first -- the place of the leftmost leaf below it, its own if there is nothing below
    """

    label: str
    is_text: bool
    first: int

    @property
    def cost(self) -> int:
        """What it costs to insert or to remove it: a text's length, else 1."""
        return len(self.label) if self.is_text else 1


def tree_of(tidy: Any) -> list[Node]:
    """A tidied document: keys above their values, and above each object in a list an `<item>`."""
    nodes: list[Node] = []
    _grow(nodes, "<root>", tidy)
    return nodes


def _grow(nodes: list[Node], label: str, tidy: Any) -> None:
    """Add the nodes below a node, then the node itself."""
    first = len(nodes)
    pairs = tidy.items() if isinstance(tidy, dict) else (("<item>", value) for value in tidy)
    for key, value in pairs:
        if isinstance(value, str):
            nodes.append(Node(value, True, len(nodes)))
        else:
            _grow(nodes, key, value)
    nodes.append(Node(label, False, first))


def replacement_cost(a: Node, b: Node) -> int:
    """Edits between two texts; 1 between two other labels; 1 more than its length for a text."""
    if a.is_text and b.is_text:
        return edit_distance(a.label, b.label)
    if a.is_text or b.is_text:
        return 1 + len(a.label if a.is_text else b.label)
    return int(a.label != b.label)


def tree_edit_distance(a: list[Node], b: list[Node]) -> int:
    """The least cost of insertions, removals and replacements of nodes that make b of a.

    Zhang and Shasha 1989: ordered trees; the children of a removed node take its place.
    """
    replace = cache(replacement_cost)
    trees: dict[tuple[int, int], int] = {}  # distances of subtrees, by their roots
    for i in _roots(a):
        for j in _roots(b):
            _compare(a, b, i, j, trees, replace)
    return trees[len(a) - 1, len(b) - 1]


def _roots(nodes: list[Node]) -> list[int]:
    """Of the nodes with the same leftmost leaf the highest, from the bottom up."""
    return sorted({node.first: place for place, node in enumerate(nodes)}.values())


def _compare(
    a: list[Node],
    b: list[Node],
    i: int,
    j: int,
    trees: dict[tuple[int, int], int],
    replace: Callable[[Node, Node], int],
) -> None:
    """Distances of the subtrees along the leftmost paths below i and j, by those of forests.

    rows[x][y] is the distance from x nodes of a to y of b, counted from the leftmost leaves.
    """
    left, top = a[i].first, b[j].first
    columns = b[top : j + 1]
    rows = [[0]]
    for other in columns:
        rows[0].append(rows[0][-1] + other.cost)
    for x, node in enumerate(a[left : i + 1]):
        row = [rows[x][0] + node.cost]
        for y, other in enumerate(columns):
            both = node.first == left and other.first == top  # forests are trees here
            if both:
                joined = rows[x][y] + replace(node, other)
            else:
                joined = rows[node.first - left][other.first - top] + trees[left + x, top + y]
            row.append(min(joined, rows[x][y + 1] + node.cost, row[y] + other.cost))
            if both:
                trees[left + x, top + y] = row[-1]
        rows.append(row)
