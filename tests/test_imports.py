"""What may import third-party packages: the core needs only numpy; torch and matplotlib stay in their folders."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import costmodel

PACKAGE = Path(costmodel.__file__).parent
HEAVY = ("torch", "torchvision", "timm", "fvcore", "matplotlib", "onnx", "pandas", "pyarrow", "scipy")


def loaded_by(code):
    """Names of the top-level modules that are loaded after some code ran in a fresh interpreter."""
    code += "\nimport sys\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


def third_party(modules):
    """The third-party packages among modules, without what numpy and yaml themselves bring along (cython_runtime)."""
    known = set(sys.stdlib_module_names) | loaded_by("import numpy, yaml") - {"numpy", "yaml"}
    return {name for name in modules if name not in known and not name.startswith(("_", "costmodel"))}


def test_importing_the_package_loads_nothing_and_a_public_name_numpy_alone():
    assert third_party(loaded_by("import costmodel")) == set()
    assert third_party(loaded_by("import costmodel; costmodel.estimate, costmodel.load")) == {"numpy"}


def test_the_lean_modules_are_reached_from_the_package_and_loaded_only_then():
    assert loaded_by("import costmodel; costmodel.pytorch.realize") >= {"torch"}


def test_an_estimate_loads_yaml_and_nothing_heavier():
    assert third_party(loaded_by("import costmodel; costmodel.estimate('mobilenet_v2').to_dict()")) == {"numpy", "yaml"}


@pytest.mark.parametrize("arguments", [["report", "mobilenet_v2"], ["list", "networks"], ["--help"]], ids=str)
def test_the_command_line_loads_neither_torch_nor_matplotlib(arguments):
    code = f"import sys; sys.argv = ['costmodel', *{arguments!r}]\nfrom costmodel.cli import main\n"
    code += "try:\n    main()\nexcept SystemExit as leave:\n    assert not leave.code\n"
    assert not loaded_by(code) & set(HEAVY)


def imports(path):
    """Top-level modules that a source file imports, at any depth of its code, without relative imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            argument = node.args[0] if node.args else None
            name = argument.value if isinstance(argument, ast.Constant) else ""
            found |= {name.partition(".")[0]} - {""}
    return found


SOURCES = {path.relative_to(PACKAGE).as_posix(): imports(path) for path in sorted(PACKAGE.rglob("*.py"))}


def test_only_the_torch_side_imports_torch():
    importers = {name for name, modules in SOURCES.items() if modules & {"torch", "torchvision", "timm", "fvcore"}}
    allowed = {name for name in SOURCES if name.startswith(("pytorch/", "frontends/modules/"))}
    asks = "targets/threads.py"  # where a system does not tell how many cores it has, torch alone tells its threads
    assert importers <= allowed | {asks}
    assert {"pytorch/realize.py", "pytorch/measure.py"} <= importers  # the scan sees imports at all


def test_only_figures_import_matplotlib():
    importers = {name for name, modules in SOURCES.items() if "matplotlib" in modules}
    assert importers and all(name.startswith("views/figures/") for name in importers)


def test_only_the_readers_of_onnx_files_import_onnx():
    importers = {name for name, modules in SOURCES.items() if "onnx" in modules}
    assert importers == {f"frontends/onnxfiles/{name}.py" for name in ("constants", "file", "functions", "tensors")}


def test_only_the_writer_of_parquet_files_imports_pyarrow():
    assert {name for name, modules in SOURCES.items() if "pyarrow" in modules} == {"files/parquet.py"}


def test_only_the_reader_of_toml_imports_one_and_only_the_plugin_pytest():
    assert {name for name, modules in SOURCES.items() if modules & {"tomllib", "tomli"}} == {"files/toml.py"}
    assert {name for name, modules in SOURCES.items() if "pytest" in modules} == {"pytest_plugin.py"}


def test_only_the_document_reader_imports_yaml():
    assert {name for name, modules in SOURCES.items() if "yaml" in modules} == {"files/document.py"}


def test_public_names():
    classes = ["CostmodelError", "Estimate", "Fits", "Network", "Sweep"]
    assert costmodel.__all__ == [*classes, "estimate", "fits", "load", "plan", "sweep"]
    assert all(hasattr(costmodel, name) for name in costmodel.__all__)


def test_no_module_takes_the_name_of_a_public_function():
    """Importing a submodule sets an attribute of the package, which would hide a function of the same name."""
    assert not set(costmodel.__all__) & {path.stem for path in PACKAGE.iterdir()}
