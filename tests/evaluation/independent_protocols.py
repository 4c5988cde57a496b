"""SROIE task 3 and CORD, from their public definitions; shares no line with the studio. See ``independent_scorer``.

SROIE: Huang et al., ICDAR 2019, task 3. CORD: the F1 and the tree accuracy of Donut (Kim et al., ECCV 2022), the tree
distance by Zhang and Shasha (1989).
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from rapidfuzz.distance import Levenshtein

SROIE_FIELDS = ("company", "date", "address", "total")


def floats(value: Any) -> Any:
    """The same value as ``json.loads`` alone would give it: what the public scripts look at."""
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [floats(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    return value


def prf(right: int, said: int, truth: int) -> dict[str, Any]:
    """Precision, recall and F1 with their counts; None where there is nothing to divide by."""
    precision, recall = right / said if said else None, right / truth if truth else None
    f1 = 2 * right / (said + truth) if said + truth else None
    return {"correct": right, "said": said, "gold": truth, "precision": precision, "recall": recall, "f1": f1}


def cord_normal(value: Any) -> Any:
    """Donut's preparation: empty things go, scalars become stripped strings in lists, keys sort by length."""
    if not value:
        return {}
    if isinstance(value, dict):
        result = {}
        for key in sorted(value, key=lambda one: (len(one), one)):
            inner = cord_normal(value[key])
            if inner:
                result[key] = inner if isinstance(inner, list) else [inner]
        return result
    if isinstance(value, list):
        if all(isinstance(item, dict) for item in value):
            return [inner for item in value if (inner := cord_normal(item))]
        return [str(item).strip() for item in value if type(item) in (str, int, float) and str(item).strip()]
    return [str(value).strip()]


def cord_flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(path, string) of everything in it; rows of a list share their path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from cord_flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from cord_flat(inner, key)
    else:
        yield key, value


Node = tuple[str, list[Any]]


def cord_tree(value: Any, name: str = "<root>") -> Node:
    """The prepared object as a tree; a string hangs below its key as a leaf."""
    if isinstance(value, dict):
        return name, [cord_tree(inner, key) for key, inner in value.items()]
    if all(isinstance(item, dict) for item in value):
        return name, [cord_tree(item, "<subtree>") for item in value]
    return name, [(f"<leaf>{item}", []) for item in value]


def alone(label: str) -> int:
    """What it costs to add or to remove a node: a letter each for a leaf."""
    return len(label.removeprefix("<leaf>")) if label.startswith("<leaf>") else 1


def rename(one: str, other: str) -> int:
    """What it costs to turn one node into the other."""
    first, second = one.startswith("<leaf>"), other.startswith("<leaf>")
    if first and second:
        return Levenshtein.distance(one.removeprefix("<leaf>"), other.removeprefix("<leaf>"))
    if first or second:
        return 1 + alone(one if first else other)
    return int(one != other)


def tree_distance(one: Node, other: Node) -> int:
    """Zhang and Shasha (1989): the cheapest way from one ordered tree to the other."""

    def ordered(tree: Node) -> tuple[list[str], list[int], list[int]]:
        labels: list[str] = []
        leftmost: list[int] = []

        def visit(node: Node) -> int:
            firsts = [visit(child) for child in node[1]]
            labels.append(node[0])
            leftmost.append(firsts[0] if firsts else len(labels) - 1)
            return leftmost[-1]

        visit(tree)
        last = {left: index for index, left in enumerate(leftmost)}
        return labels, leftmost, sorted(last.values())

    labels1, left1, keys1 = ordered(one)
    labels2, left2, keys2 = ordered(other)
    distance = [[0] * len(labels2) for _ in labels1]
    for i in keys1:
        for j in keys2:
            a, b = left1[i], left2[j]
            forest = [[0] * (j - b + 2) for _ in range(i - a + 2)]
            for x in range(1, i - a + 2):
                forest[x][0] = forest[x - 1][0] + alone(labels1[a + x - 1])
            for y in range(1, j - b + 2):
                forest[0][y] = forest[0][y - 1] + alone(labels2[b + y - 1])
            for x in range(1, i - a + 2):
                for y in range(1, j - b + 2):
                    m, n = a + x - 1, b + y - 1
                    remove = forest[x - 1][y] + alone(labels1[m])
                    insert = forest[x][y - 1] + alone(labels2[n])
                    if left1[m] == a and left2[n] == b:
                        change = forest[x - 1][y - 1] + rename(labels1[m], labels2[n])
                        distance[m][n] = forest[x][y] = min(remove, insert, change)
                    else:
                        forest[x][y] = min(remove, insert, forest[left1[m] - a][left2[n] - b] + distance[m][n])
    return distance[-1][-1]


def cord(pairs: list[tuple[Any, Any]]) -> dict[str, float | None]:
    """F1 over flattened values of all documents, and the mean of 1 - nTED; pairs of (gold, output or None)."""
    right = not_right = 0
    trees = []
    for gold, output in ((floats(gold), floats(output)) for gold, output in pairs):
        answer, said = list(cord_flat(cord_normal(gold))), list(cord_flat(cord_normal(output)))
        for one in said:
            if one in answer:
                right += 1
                answer.remove(one)
            else:
                not_right += 1
        not_right += len(answer)
        truth = cord_tree(cord_normal(gold))
        whole = tree_distance(cord_tree({}), truth)
        apart = tree_distance(cord_tree(cord_normal(output)), truth)
        trees.append(max(0.0, 1 - apart / whole) if whole else float(apart == 0))
    total = right + not_right / 2
    return {"f1": right / total if total else None, "tree": sum(trees) / len(trees) if trees else None}


def sroie(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Entities of the four fields: right where content and field are the same string; empty ones are no entity."""
    gold_count = said_count = right = 0
    for gold, output in pairs:
        for name in SROIE_FIELDS:
            truth, said = gold.get(name), (output or {}).get(name)
            gold_count += truth not in (None, "")
            said_count += said not in (None, "")
            right += truth not in (None, "") and said not in (None, "") and str(truth) == str(said)
    return prf(right, said_count, gold_count)
