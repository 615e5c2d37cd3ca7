"""Standalone source files, assembled from the modules of this package.

A file gets one definition and everything that it uses: functions, classes and constants of taildiff's modules, each as
it stands there, and the imports of other libraries. Annotations are not evaluated (PEP 563), so taildiff's own types
that appear in them alone, such as the specs and their pydantic, are left out. Two definitions of one name, or a module
used as a value, fail: then the file would not be what the package computes.
"""

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "taildiff"
_Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass
class _Module:
    """A module's definitions and imports by the name that they have in it."""

    name: str
    text: str
    definitions: dict[str, list[_Definition]] = field(default_factory=dict)
    inner: dict[str, tuple[str, str]] = field(default_factory=dict)
    """From this package: (module, name); the name is empty for the module itself."""
    outer: dict[str, str] = field(default_factory=dict)
    """From other libraries: the import statement."""


@dataclass
class _Assembly:
    """What has been found to be needed so far."""

    owners: dict[str, str] = field(default_factory=dict)
    """The module of each name."""
    imports: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """Modules, each after those that it uses."""


def assemble(module: str, name: str, title: str) -> str:
    """The source of a file with the definition `name` of `module`; `title` opens its docstring."""
    found = _Assembly()
    _need(found, module, name)
    parts = [_text(_read(each), {n for n, owner in found.owners.items() if owner == each}) for each in found.order]
    imports = _grouped(sorted(set(found.imports.values())))
    head = f'"""{title}\n\nAssembled from the sources of taildiff; edit those instead. Apache-2.0."""'
    return "\n\n\n".join(["\n".join([head, "", "from __future__ import annotations", "", *imports]), *parts]) + "\n"


def _need(found: _Assembly, module: str, name: str) -> None:
    """Add a definition and, first, everything that it uses."""
    if (owner := found.owners.get(name)) is not None:
        assert owner == module, f"{name} is defined in {owner} and in {module}"
        return
    source = _read(module)
    assert name in source.definitions, f"{module} does not define {name}"
    found.owners[name] = module
    for node in source.definitions[name]:
        for used in _names(node):
            _use(found, source, used)
        for annotated in ast.walk(node):
            if isinstance(annotated, ast.Name) and (statement := source.outer.get(annotated.id)):
                found.imports.setdefault(annotated.id, statement)
    if module in found.order:
        found.order.remove(module)
    found.order.append(module)


def _use(found: _Assembly, source: _Module, used: str) -> None:
    name, _, attribute = used.partition(".")
    if name in source.definitions:
        _need(found, source.name, name)
    elif name in source.inner:
        module, original = source.inner[name]
        assert original or attribute, f"{source.name} uses the module {module} as a value"
        _need(found, module, original or attribute)
    elif name in source.outer:
        statement = found.imports.setdefault(name, source.outer[name])
        assert statement == source.outer[name], f"{name} is imported in two ways"
    else:
        known = attribute or hasattr(builtins, name) or name in ("self", "__name__")
        assert known, f"{source.name} uses {name}"


def _grouped(statements: list[str]) -> list[str]:
    """One statement per library for `from … import …`, behind the plain imports."""
    plain, origins = [each for each in statements if each.startswith("import ")], dict[str, list[str]]()
    for statement in statements:
        if statement.startswith("from "):
            origin, _, name = statement.removeprefix("from ").partition(" import ")
            origins.setdefault(origin, []).append(name)
    return [*plain, *(f"from {origin} import {', '.join(names)}" for origin, names in sorted(origins.items()))]


def _text(source: _Module, names: set[str]) -> str:
    """The definitions of these names as they stand in the module, without the modules' names in front of others."""
    nodes = {id(node): node for name in names for node in source.definitions[name]}
    chosen = sorted(nodes.values(), key=lambda node: node.lineno)
    texts = [f"# {source.name}", *(_segment(source, node) for node in chosen)]
    return "\n\n\n".join(texts)


def _segment(source: _Module, node: _Definition) -> str:
    start = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = source.text.splitlines()
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            name = part.value.id
            if source.inner.get(name, ("", "x"))[1] == "" and part.value.lineno == part.end_lineno:
                line, at = part.value.lineno - 1, part.value.col_offset
                raw = lines[line].encode()
                blank = b"\0" * (len(name) + 1)  # keeps the columns of what follows
                lines[line] = (raw[:at] + blank + raw[at + len(blank) :]).decode()
    return "\n".join(lines[start - 1 : node.end_lineno]).replace("\0", "")


def _names(node: ast.AST) -> Iterator[str]:
    """Names that a definition uses when it runs, one of a module with its attribute: `power`, `spacing.power`."""
    inner = node.body if isinstance(node, ast.ClassDef) else []
    for method in inner:
        if isinstance(method, ast.FunctionDef):  # its arguments and variables are its own
            yield from _names(method)
    local = _bound(node) if not isinstance(node, ast.ClassDef) else set()
    for part in _evaluated(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            if part.value.id not in local:
                yield f"{part.value.id}.{part.attr}"
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id not in local:
            yield part.id


def _bound(node: ast.AST) -> set[str]:
    """Names that the definition itself binds inside: arguments, variables, inner functions."""
    inside = [part for part in ast.walk(node) if part is not node]
    bound = {part.arg for part in inside if isinstance(part, ast.arg)}
    bound |= {part.id for part in inside if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    bound |= {part.name for part in inside if isinstance(part, ast.FunctionDef | ast.ClassDef)}
    bound |= {part.name for part in inside if isinstance(part, ast.ExceptHandler | ast.MatchAs) and part.name}
    bound |= {
        alias.asname or alias.name.split(".")[0]
        for part in inside
        if isinstance(part, ast.Import | ast.ImportFrom)
        for alias in part.names
    }
    return bound


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of annotations; an attribute of a name comes without that name."""
    skipped = ("annotation", "returns")
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            is_method = isinstance(node, ast.ClassDef) and isinstance(child, ast.FunctionDef)
            if isinstance(child, ast.AST) and not is_method:
                yield child
                if not (isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name)):
                    yield from _evaluated(child)


@cache
def _read(name: str) -> _Module:
    spec = find_spec(name)
    assert spec
    assert spec.origin
    text = Path(spec.origin).read_text(encoding="utf-8")
    module = _Module(name, text)
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.definitions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for each in ast.walk(target):
                    if isinstance(each, ast.Name):
                        module.definitions.setdefault(each.id, []).append(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                known = alias.asname or alias.name.split(".")[0]
                module.outer[known] = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
        elif isinstance(node, ast.ImportFrom):
            _from(module, node)
    return module


def _from(module: _Module, node: ast.ImportFrom) -> None:
    origin = node.module or ""
    for alias in node.names:
        known = alias.asname or alias.name
        if origin.split(".")[0] != PACKAGE:
            renamed = f" as {alias.asname}" if alias.asname else ""
            module.outer[known] = f"from {origin} import {alias.name}{renamed}"
            continue
        assert alias.asname is None, f"{module.name} renames {alias.name}"
        is_module = find_spec(origin) is not None and _is_module(f"{origin}.{alias.name}")
        module.inner[known] = (f"{origin}.{alias.name}", "") if is_module else (origin, alias.name)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
