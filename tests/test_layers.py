"""The layers of the house: imports go down, or stay in their folder."""

import ast
from pathlib import Path

import pytest

import costmodel

PACKAGE = Path(costmodel.__file__).parent

#: From the ground up: each folder, and each module of the root, is on exactly one layer.
LAYERS = (
    ("sizes", "errors", "escapes", "notebook", "version"),
    ("files", "targets", "devices", "heap"),
    ("graph", "ops"),
    ("strategies", "conventions"),
    ("step", "frontends", "api"),
    ("studies", "pytorch"),
    ("views", "commands", "cli", "completion", "endings", "__main__", "testing", "pytest_plugin", "frugal"),
)
#: Allowed imports within one layer, beside those within a folder.
BESIDE = {
    ("sizes", "errors"), ("errors", "escapes"), ("ops", "graph"), ("targets", "files"),
    ("devices", "files"), ("devices", "targets"),
    ("api", "step"), ("api", "frontends"),
    ("commands", "cli"), ("commands", "views"), ("commands", "endings"),
    ("commands", "completion"), ("cli", "endings"), ("cli", "completion"), ("__main__", "cli"),
    ("testing", "views"), ("pytest_plugin", "testing"),
}  # fmt: skip


def module_of(path):
    """The dotted name of a source file within the package; "" for its root."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module):
    """The modules of the package that a module imports, at any depth of its code."""
    path = MODULES[module]
    home = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("costmodel") for alias in node.names), f"{path}: import it relatively"
        elif isinstance(node, ast.ImportFrom) and node.level:
            above = home.split(".")[: len(home.split(".")) - node.level + 1] if home else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                found.add(inner if inner in MODULES or inner == "specs" else base)
    return found - {module}


IMPORTS = {module: imports(module) for module in MODULES}


def place(module):
    """The name under which LAYERS lists a module: its folder, or its own name if it is a module of the root."""
    return module.partition(".")[0]


def layer(module):
    """The number of a module's layer, with 0 the lowest; the package's `__init__` is above all."""
    return next((n for n, places in enumerate(LAYERS) if place(module) in places), len(LAYERS))


def goes_up(module, other):
    """Whether an import breaks the rule of the layers."""
    if place(module) == place(other) or (place(module), place(other)) in BESIDE:
        return False
    return layer(other) >= layer(module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_or_stay_in_their_folder(module):
    wrong = {other for other in IMPORTS[module] if module and goes_up(module, other)}
    assert wrong == set()


def test_every_module_has_a_layer():
    assert [module for module in MODULES if module and layer(module) == len(LAYERS)] == []


def test_no_circle():
    """No modules import each other, directly or through others."""
    below = dict(IMPORTS)
    while below:
        ground = {module for module, others in below.items() if not others & below.keys()}
        assert ground, f"a circle among {', '.join(sorted(below))}"
        below = {module: others for module, others in below.items() if module not in ground}
