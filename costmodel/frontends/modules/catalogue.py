"""The names of torchvision's and timm's networks, read in their source code: nothing is imported for them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

from ...errors import CostmodelError
from ...files.reading import text_of

#: A function that a library registers as a network, below its decorators.
REGISTERED = re.compile(
    r"^@register_model\b(?:\((?:name=)?(?:[\"'](\w+)[\"'])?\))?\s*\n(?:(?:@.*|[ )].*)\n)*def (\w+)", re.MULTILINE
)


def library_names(library: str) -> list[str]:
    """Names of the networks of "torchvision" or "timm"; none if it is not installed."""
    found = importlib.util.find_spec(library)
    if found is None or found.origin is None:
        return []
    models = Path(found.origin).parent.joinpath("models")
    files = sorted((*models.glob("*.py"), *models.glob("segmentation/*.py")))
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return sorted({match[1] or match[2] for text in texts for match in REGISTERED.finditer(text)})


def names_in_file(path: str) -> list[str]:
    """Names of the classes, the functions and the values in a Python file; none if it cannot be read."""
    try:
        tree = ast.parse(text_of(path, "code"))
    except (CostmodelError, ValueError, SyntaxError, RecursionError):
        return []
    found: list[str] = []
    for statement in tree.body:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
            found.append(statement.name)
        elif isinstance(statement, ast.Assign):
            found += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return [name for name in found if not name.startswith("_")]
