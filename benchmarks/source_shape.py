"""Figures of the source's structure: lines, helpers, modules, names, direction of imports.

``python -m benchmarks.source_shape`` prints the figures of ``porting`` and ``genmobilenet``. They
guide refactoring, and decide nothing.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PACKAGES = ("genmobilenet", "porting")

LAYERS = (
    ("genmobilenet",),
    ("porting.errors", "porting.sha256", "porting.atomic_files"),
    ("porting.sources",),
    ("porting.catalog",),
    ("porting.graph",),
    ("porting.mapping",),
    ("porting.carry_out", "porting.own_module", "porting.card"),
    ("porting.judges",),
    ("porting.parity", "porting.subject"),
    ("porting.calibration", "porting.accuracy", "porting.api", "porting.diff"),
    ("porting.release", "porting.reports"),
    ("porting.cli", "porting.__main__"),
)
"""From left to right: a package may import what stands before it, and its own row."""

_IRREGULAR = set(
    "found given made told wanted asked stated kept seen taken held known shown drawn built left "
    "sent chosen written gone done understood meant fed brought bought caught got had laid led "
    "lost met paid put said sold spent stood taught thought won worn read".split()
)
_NO_PARTICIPLES = set(
    "need seed feed speed embed bed red shed indeed proceed exceed succeed".split()
)


def modules() -> dict[str, ast.Module]:
    """Every module's tree, by dotted name."""
    trees = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imports_of(name: str, tree: ast.Module, module_names: set[str]) -> set[str]:
    """The project's modules that a module imports anywhere."""
    targets = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            targets |= submodules & module_names or {node.module}
    return {module for module in targets if module in module_names and module != name}


def eager_imports_of(name: str, tree: ast.Module, module_names: set[str]) -> set[str]:
    """Those that it imports when it is imported itself."""
    eager = ast.Module(
        [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))], []
    )
    return imports_of(name, eager, module_names)


def helpers(trees: dict[str, ast.Module]) -> tuple[int, int]:
    """Private functions with one mention beside their definition, and all functions."""
    once = total = 0
    for tree in trees.values():
        mentions = Counter(
            node.id if isinstance(node, ast.Name) else node.attr
            for node in ast.walk(tree)
            if isinstance(node, (ast.Name, ast.Attribute))
        )
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                total += 1
                private = node.name.startswith("_") and not node.name.startswith("__")
                once += private and mentions[node.name] == 1
    return once, total


def bindings(tree: ast.Module) -> Iterator[str]:
    """The names that are bound to values: parameters and variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def is_participle(name: str) -> bool:
    """Whether a name is a past participle and nothing else."""
    word = name.strip("_").lower()
    regular = re.fullmatch(r"[a-z]{2,}ed", word) is not None and word not in _NO_PARTICIPLES
    return regular or word in _IRREGULAR


def circles(graph: dict[str, set[str]]) -> int:
    """Groups of modules that import each other as they are imported."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = 0

    def visit(name: str) -> None:
        nonlocal groups
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in graph[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            size = len(stack) - stack.index(name)
            del stack[-size:]
            groups += size > 1

    for name in graph:
        if name not in index:
            visit(name)
    return groups


def layer_of(name: str) -> int | None:
    """The place of a module in :data:`LAYERS`."""
    for place, packages in enumerate(LAYERS):
        if any(name == package or name.startswith(f"{package}.") for package in packages):
            return place
    return None


def backward(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Imports of something further right."""
    return [
        (name, other)
        for name, others in graph.items()
        for other in others
        if (here := layer_of(name)) is not None
        and (there := layer_of(other)) is not None
        and there > here
    ]


def main() -> None:
    """Print the figures."""
    trees = modules()
    module_names = set(trees)
    graph = {name: imports_of(name, tree, module_names) for name, tree in trees.items()}
    eager = {name: eager_imports_of(name, tree, module_names) for name, tree in trees.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for name, others in graph.items():
        for other in others:
            importers[other].add(name)
    plain = [n for n in trees if not any(other.startswith(f"{n}.") for other in trees)]
    lonely = [name for name in plain if len(importers[name]) == 1]
    once, total = helpers(trees)
    names = [name for tree in trees.values() for name in bindings(tree)]
    participles = sum(map(is_participle, names))
    lines = sum(
        len(path.read_text(encoding="utf-8").splitlines())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    )
    against = backward(graph)
    table = Table("what", "figure")
    table.add_row("lines", f"{lines:,}")
    table.add_row(
        "functions that are private and called once", f"{once} of {total} ({once / total:.0%})"
    )
    table.add_row("modules with one importer", f"{len(lonely)} of {len(plain)}")
    table.add_row("bare participles among 1,000 bindings", f"{1000 * participles / len(names):.1f}")
    table.add_row("circles of imports", str(circles(eager)))
    table.add_row("imports against the direction", str(len(against)))
    console = Console(width=100)
    console.print(table)
    for name, other in against:
        console.print(f"  {name} imports {other}")


if __name__ == "__main__":
    main()
