"""The compiled functions of a loaded method, and its arrays on the device."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax

from maskmim.errors import UserError
from maskmim.types import Method, Tree, Variables


class Programs:
    """Functions of a method's variables, each compiled once for each shape of its arguments.

    The arrays are put on the device at the first call. Frozen arrays, such as a teacher's, are made
    or read at the first function that needs them: an encoder works without its teacher's file.
    """

    def __init__(self, method: Method, variables: Variables):
        self._method, self._host = method, variables
        self._placed: Variables | None = None
        self._frozen: Tree | None = None
        self._compiled: dict[Hashable, Callable[..., Any]] = {}
        self._kept: dict[Hashable, Any] = {}

    def call(self, name: Hashable, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return function(variables, *arguments), compiled under a name.

        name: of the function with everything that it closes over; the first one counts.
        """
        run = self._compiled.setdefault(name, jax.jit(function))
        if self._frozen is None:
            try:
                return run(self.variables, *arguments)
            except UserError:
                raise
            except Exception:  # whatever a method does with () in place of its frozen arrays
                self._frozen = self._method.freeze()
        return run(self.variables, *arguments)

    def kept(self, name: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` makes, at the first call under a name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def variables(self) -> Variables:
        """The variables on the default device; frozen is () until a function needs it."""
        if self._placed is None:
            self._placed = jax.device_put(self._host)
        return self._placed._replace(frozen=() if self._frozen is None else self._frozen)
