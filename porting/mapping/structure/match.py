"""Which value of one structure is which of another.

Every value has a *print*: what computes it, all the way down to the input, but for the
weights. Two structures are the same where their outputs have one print; from there the
values are paired from the output up, operand by operand. Operands of a sum or a product
have no order: they are paired by their prints, and where those are equal too, nothing
says which weights belong to which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from porting.errors import MappingError
from porting.mapping.structure.node import COMMUTATIVE, Node, Structure, in_order


class AmbiguousAlignment(MappingError):
    """Two places have the same structure around them, and nothing says which is which."""


class StructureMismatch(MappingError):
    """Source and module compute different things."""


Prints = dict[int, int]
"""The print of each node, by the node's ``id``."""


Pairs = list[tuple[Node, Node]]
"""Values of a source and of a module, inputs before what is made of them."""


def match_structures(source: Structure, module: Structure, path: str) -> Pairs:
    """Every value of the source with the module's.

    ``path`` names the source in messages.

    Raises:
        StructureMismatch: they differ; the first place of each side without a like is named.
        AmbiguousAlignment: two places cannot be told apart.
    """
    known: dict[tuple[object, ...], int] = {}
    ours, theirs = _prints(source, known), _prints(module, known)
    if ours[id(source.output)] != theirs[id(module.output)]:
        raise _mismatch(source, module, ours, theirs, path)
    pairs = dict(_pairs(source.output, module.output, ours, theirs, path))
    return [(node, pairs[node]) for node in source.nodes()]


def _prints(structure: Structure, known: dict[tuple[object, ...], int]) -> Prints:
    prints: Prints = {}
    for node in structure.nodes():
        below = [prints[id(given)] for given in node.inputs]
        if node.kind in COMMUTATIVE:
            below.sort()
        prints[id(node)] = known.setdefault((node.kind, node.facts, *below), len(known))
    return prints


def _pairs(
    source: Node, module: Node, ours: Prints, theirs: Prints, path: str
) -> Iterator[tuple[Node, Node]]:
    """Every pair below two outputs of one print."""
    partner: dict[Node, Node] = {}
    pending = [(source, module)]
    while pending:
        left, right = pending.pop()
        if left in partner:
            if left.weighted and partner[left] is not right:
                raise StructureMismatch(
                    f"{path}: the source computes {left.place} once, the module twice, at "
                    f"{partner[left].place} and at {right.place}"
                )
            continue
        partner[left] = right
        yield left, right
        pending += _operands(left, right, ours, theirs, path)


def _operands(
    left: Node, right: Node, ours: Prints, theirs: Prints, path: str
) -> Iterable[tuple[Node, Node]]:
    if left.kind not in COMMUTATIVE:
        return zip(left.inputs, right.inputs, strict=True)
    if len({ours[id(given)] for given in left.inputs}) < len(set(left.inputs)):
        _check_alike(left, right, path)
    in_print = sorted(left.inputs, key=lambda node: ours[id(node)])
    return zip(in_print, sorted(right.inputs, key=lambda node: theirs[id(node)]), strict=True)


def _check_alike(left: Node, right: Node, path: str) -> None:
    """Two operands of one print are no matter where neither has weights of its own.

    Raises:
        AmbiguousAlignment: they have.
    """
    places = []
    for one, other in (left.inputs, right.inputs):
        mine, its = _weighted(one), _weighted(other)
        if mine.keys() == its.keys():
            return
        places.append((_last(mine, its), _last(its, mine)))
    (first, second), (third, fourth) = places
    raise AmbiguousAlignment(
        f"{path}: the structure does not say which layer is which:\n"
        f"  source: {first}\n     and: {second}\n"
        f"  module: {third}\n     and: {fourth}\n"
        f"  both give operands of one {left.kind}; build the module so that the two differ, or "
        "load the weights of this place by hand"
    )


def _weighted(output: Node) -> dict[Node, None]:
    return {node: None for node in in_order(output) if node.weighted}


def _last(nodes: dict[Node, None], others: dict[Node, None]) -> str:
    """The last layer that one side alone has."""
    own = [node for node in nodes if node not in others]
    return own[-1].place if own else "nothing of its own"


def _mismatch(
    source: Structure, module: Structure, ours: Prints, theirs: Prints, path: str
) -> StructureMismatch:
    """The error that names the first place of each side which the other does not have."""
    first = _unlike(source, ours, set(theirs.values()))
    second = _unlike(module, theirs, set(ours.values()))
    agreed = {ours[id(n)] for n in source.nodes() if n.weighted} & set(theirs.values())
    return StructureMismatch(
        f"{path}: source and module differ after {len(agreed)} layers in agreement:\n"
        f"  source: {first}\n  module: {second}"
    )


def _unlike(structure: Structure, prints: Prints, others: set[int]) -> str:
    for node in structure.nodes():
        if prints[id(node)] not in others:
            return f"{node.place} ({_told(node)})"
    return f"the end, at {structure.output.place}"


def _told(node: Node) -> str:
    """What a node computes, in words that both sides share."""
    if node.kind == "dense":
        return f"dense, {node.facts[0]} -> {node.facts[1]}"
    if node.weighted:
        kernel, stride, dilation, inputs, outputs, groups = node.facts
        rest = f", dilation {dilation}" if dilation != (1, 1) else ""
        rest += f", {groups} groups" if node.kind == "conv" and groups != 1 else ""
        return f"{node.kind} {kernel}, stride {stride}, {inputs} -> {outputs}{rest}"
    facts = ", ".join(str(fact) for fact in node.facts)
    return f"{node.kind} {facts}".strip()
