"""The base class of results that notebooks show as HTML."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """A result that has an HTML form. views/html.py, which renders each type, is loaded when a notebook asks for it."""

    def _repr_html_(self) -> str:
        return import_module("costmodel.views.html").html_of(self)
