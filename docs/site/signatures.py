"""Signatures as they are written in the source.

Evaluated annotations spell out every alias: `ratio: OpenFraction` would be a line of classes and
limits. Here they keep their names. Classes of ours are links; all other names that a module
imports or makes get the prefix ALIAS, which is not shown and leads nowhere.
"""

from __future__ import annotations

import builtins
import inspect
import re
import sys
import typing
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

NAME = re.compile(r"(?<![\w.'\"])[A-Za-z_][\w.]*(?![\w'\"])")
ALIAS = "alias"
OF_FLAX = {"parent", "name"}  # fields that every network has


def signature_of(thing: Any) -> tuple[str, str | None] | None:
    """Return ('(arguments)', 'annotation of what is returned'), or None where there are none."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    names = vars(sys.modules.get(thing.__module__, typing))
    hidden = {"self", *(OF_FLAX if hasattr(thing, "scope") else ())}
    parameters = [
        each.replace(annotation=_linked(each.annotation, names), default=_shown(each.default))
        for each in found.parameters.values()
        if each.name not in hidden
    ]
    result = None if inspect.isclass(thing) else _linked(found.return_annotation, names)
    text = stringify_signature(found.replace(parameters=parameters, return_annotation=result))
    arguments, arrow, _ = text.rpartition(" -> ")
    if result in (None, inspect.Signature.empty):
        return (arguments if arrow else text), None
    return arguments, result


def _linked(annotation: Any, names: dict[str, Any]) -> Any:
    """Return an annotation as text, with the whole path of each class of ours."""
    if annotation is inspect.Parameter.empty:
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return inspect.formatannotation(annotation)
    return NAME.sub(lambda found: _path(found[0], names), annotation)


def _path(name: str, names: dict[str, Any]) -> str:
    head, *rest = name.split(".")
    thing = names.get(head)
    for attribute in rest:
        thing = getattr(thing, attribute, None)
    if inspect.isclass(thing) and thing.__module__.startswith("maskmim."):
        return f"~{thing.__module__}.{thing.__qualname__}"
    return name if hasattr(builtins, name) else f"~{ALIAS}.{name.rpartition('.')[2]}"


class _Text(str):
    """A default whose repr is the text itself."""

    def __repr__(self) -> str:
        return str(self)


def _shown(default: Any) -> Any:
    """Return a default without addresses: the name of a function or of a class."""
    if default is inspect.Parameter.empty:
        return default
    if inspect.isclass(default) or inspect.isroutine(default):
        return _Text(default.__name__)
    found = re.fullmatch(r"<class '[\w.]*?(\w+)'>", repr(default))
    return _Text(found[1]) if found else default


def on_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, result: str
) -> tuple[str, str | None] | None:
    """Replace what autodoc found."""
    return signature_of(obj) if what in ("function", "class", "method") else None


def setup(app: Sphinx) -> None:
    """Connect with Sphinx."""
    app.connect("autodoc-process-signature", on_signature)
