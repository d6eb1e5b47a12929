"""The house as a whole: how long files and functions may be, how large classes; and every module has a test."""

import ast
from pathlib import Path

from setuptools.config.setupcfg import read_configuration

import costmodel

ROOT = Path(__file__).parent.parent
PACKAGE = Path(costmodel.__file__).parent
TESTS = ROOT / "tests"
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, NAMES_OF_A_CLASS = 400, 60, 35

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in (PACKAGE, TESTS)
    for path in sorted(folder.rglob("*.py"))
}
TREES = {path: ast.parse(text) for path, text in TEXTS.items()}


def definitions(kind):
    """Every definition of a kind, at any depth, as (file and name, node)."""
    return [
        (f"{path}:{node.name}", node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]


def is_record(node):
    """Whether what a class annotates are fields: of a dataclass, an op or a NamedTuple."""
    made = ("dataclass", "op", "shared_fields")
    marks = [getattr(mark.func if isinstance(mark, ast.Call) else mark, "id", "") for mark in node.decorator_list]
    return bool({*marks} & {*made}) or any(getattr(base, "id", "") == "NamedTuple" for base in node.bases)


def names_of(node):
    """The names that a class gives itself: methods, properties, attributes of its own and of `self`; not its fields."""
    names = set()
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign):
            names |= {
                part.id for target in statement.targets for part in ast.walk(target) if isinstance(part, ast.Name)
            }
        elif isinstance(statement, ast.AnnAssign):
            if not is_record(node) or "ClassVar" in ast.unparse(statement.annotation):
                names.add(statement.target.id)
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            if isinstance(part.value, ast.Name) and part.value.id == "self":
                names.add(part.attr)
    return names


def test_no_file_is_too_long():
    lines = {path: len(text.splitlines()) for path, text in TEXTS.items()}
    assert {path: n for path, n in lines.items() if n > LINES_OF_A_FILE} == {}
    assert len(lines) > 200  # the scan sees them all


def test_no_function_is_too_long():
    functions = definitions((ast.FunctionDef, ast.AsyncFunctionDef))
    lines = {name: node.end_lineno - node.lineno + 1 for name, node in functions}
    assert {name: n for name, n in lines.items() if n > LINES_OF_A_FUNCTION} == {}
    assert len(lines) > 2000


def test_no_class_has_too_many_names_of_its_own():
    names = {name: names_of(node) for name, node in definitions(ast.ClassDef)}
    assert {name: len(own) for name, own in names.items() if len(own) > NAMES_OF_A_CLASS} == {}
    assert {"stock", "torch_needs", "module"} <= names["costmodel/ops/activation.py:PReLU"]
    assert "channels" not in names["costmodel/ops/activation.py:PReLU"]  # a field
    assert {"known_costs", "named"} <= names["costmodel/studies/plan/plan.py:_Planner"]


# -- each module has a test that imports it ----------------------------------------------------------------


def dotted(path):
    """The dotted name of a module, a package by its folder's."""
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in TEXTS if path.startswith("costmodel/")}


def imported(path):
    """The modules of the package that a file imports; through a package's door, those that it re-exports from."""
    home = dotted(path).split(".")
    home = home if path.endswith("__init__.py") else home[:-1]
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= inner | {base}
    return found & MODULES.keys()


def reached(path):
    """What a test file imports, and what stands behind doors: packages, and modules that say `__all__`."""
    found, new = set(), imported(path)
    while new:
        found |= new
        doors = {path for path in map(MODULES.get, new) if path.endswith("__init__.py") or "__all__ = " in TEXTS[path]}
        new = {module for door in doors for module in imported(door)} - found
    return found


def has_code(path):
    """Whether there is more in a file than a docstring."""
    return any(not isinstance(statement, ast.Expr) for statement in TREES[path].body)


def test_every_module_is_imported_by_a_test():
    seen = {module for path in TEXTS if path.startswith("tests/") for module in reached(path)}
    untested = {module for module in MODULES.keys() - seen if has_code(MODULES[module])}
    assert untested == set()


def test_the_packages_that_are_installed_are_the_folders():
    folders = {dotted(path) for path in TEXTS if path.startswith("costmodel/") and path.endswith("__init__.py")}
    listed = read_configuration(ROOT / "setup.cfg")["options"]["packages"]
    assert sorted(listed) == listed and {*listed} == folders | {"costmodel.specs"}
