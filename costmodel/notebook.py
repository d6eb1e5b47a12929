"""The base class of results that notebooks show as HTML."""

from __future__ import annotations

from importlib import import_module


class Shown:
    """A result with an HTML form. views/html.py, which knows how each type looks, is loaded when a notebook asks."""

    def _repr_html_(self) -> str:
        return import_module("costmodel.views.html").html_of(self)
