"""Modules in people's own code: `path/to/file.py:NAME` and `package.module:NAME`.

NAME is an instance of torch.nn.Module, or a class or factory function that makes one without arguments. What the code
prints goes to stderr, since stdout is for answers; what it raises becomes one message with the line that raised it.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ...errors import CostmodelError
from ...files.reading import check_readable
from .blame import RAISED, failed, run
from .imports import beside_any_torchvision, imported, lacks_operators, what_is_wrong

ALLOWED = "a torch.nn.Module, or a class or function that makes one without arguments"


def made(home: str, name: str, classes: int | None) -> nn.Module:
    """The module called `name` in a Python file or in a Python module, whose package may be in the current folder.

    Raises CostmodelError if there is none, or if the code fails.
    """
    text = f"{home}:{name}"
    is_file = home.endswith(".py")
    with _importable(_root_of(Path(home)) if is_file else Path.cwd()), redirect_stdout(sys.stderr):
        code = _of_file(home) if is_file else _of_package(home)
        found = _named(code, home, name)
        if isinstance(found, nn.Module):
            if classes is not None:
                raise CostmodelError(f"{text} is already built, so that classes cannot be given")
            return found
        if not callable(found):
            raise CostmodelError(f"{text} is a {type(found).__name__}; allowed: {ALLOWED}")
        more = _arguments(found, text, classes)
        module = run(text, lambda: beside_any_torchvision(lambda: found(**more)))  # it may import torchvision itself
    if not isinstance(module, nn.Module):
        raise CostmodelError(f"{text} returned a {type(module).__name__}; allowed: a torch.nn.Module")
    return module


def function(text: str) -> Callable[..., Any]:
    """The function that a text such as path/to/file.py:NAME or package.module:NAME names. Raises CostmodelError."""
    home, _, name = text.rpartition(":")
    is_file = home.endswith(".py")
    with _importable(_root_of(Path(home)) if is_file else Path.cwd()), redirect_stdout(sys.stderr):
        found = _named(_of_file(home) if is_file else _of_package(home), home, name)
    if not callable(found):
        raise CostmodelError(f"{text} is a {type(found).__name__}; allowed: a function")
    return found


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets code import what stands in a folder."""
    here = str(folder.absolute())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _root_of(file: Path) -> Path:
    """The folder from which a file is imported: its own, or the one in which its package stands."""
    folder = file.absolute().parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _of_file(path: str) -> ModuleType:
    """A Python file, imported: as a module of its package if its folder is one, else by itself."""
    file = Path(path).absolute()
    check_readable(path, "code")
    root = _root_of(file)
    dotted = ".".join(file.with_suffix("").relative_to(root).parts)
    if root != file.parent:
        return run(path, lambda: imported(dotted))
    # Not under its own name, which may be that of another module: of an installed package, say.
    spec = importlib.util.spec_from_file_location(f"{dotted} of costmodel", file)
    assert spec is not None and spec.loader is not None
    code, load = importlib.util.module_from_spec(spec), spec.loader.exec_module
    sys.modules[spec.name] = code  # dataclasses look for it there
    run(path, lambda: beside_any_torchvision(lambda: load(code)))
    return code


def _of_package(name: str) -> ModuleType:
    """A Python module, imported."""
    try:
        return imported(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise failed(name, error) from None
        allowed = "torchvision, timm, a Python module's path or a .py file"
        raise CostmodelError(f"cannot import {name!r}: {error}; allowed: {allowed}") from None
    except RAISED as error:
        if lacks_operators(error):
            raise CostmodelError(f"cannot import {name!r}: {what_is_wrong(name, error)}") from None
        raise failed(name, error) from None


def _named(code: ModuleType, home: str, name: str) -> Any:
    """What a Python module calls `name`, which may be an attribute of an attribute. Raises CostmodelError."""
    try:
        return reduce(getattr, name.split("."), code)
    except AttributeError:
        pass
    own = [key for key, value in vars(code).items() if not key.startswith("_") and _makes(value, code)]
    listed = f" (in it: {', '.join(own)})" if own else f" (nothing in it is {ALLOWED})"
    if not name:
        raise CostmodelError(f"{home} is no network; allowed: {home}:NAME{listed}")
    raise CostmodelError(f"{home} has no {name!r}{near(name, own)}{listed}")


def near(name: str, names: Iterable[str]) -> str:
    """A hint with the names closest to an unknown one; "" if none is close."""
    found = get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, found))}?" if found else ""


def _makes(value: Any, code: ModuleType) -> bool:
    """Whether a name of a Python module may be meant: a Module, or a class of Modules or a function defined there."""
    if isinstance(value, nn.Module):
        return True
    if isinstance(value, type) and not issubclass(value, nn.Module):
        return False
    return callable(value) and getattr(value, "__module__", None) == code.__name__


def _arguments(factory: Callable, text: str, classes: int | None) -> dict[str, int]:
    """What a factory is called with: num_classes if classes are asked for. Raises CostmodelError if it needs more."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # written in C
        return {}
    if classes is not None and "num_classes" not in signature.parameters:
        raise CostmodelError(f"{text} takes no num_classes, so that classes cannot be given")
    more = {} if classes is None else {"num_classes": classes}
    needed = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and name not in more
    ]
    if needed:
        raise CostmodelError(f"{text} needs {', '.join(needed)}; allowed: {ALLOWED}, as in `def build(): return ...`")
    return more
