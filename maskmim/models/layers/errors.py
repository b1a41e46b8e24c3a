"""The error of models and their layers."""

from __future__ import annotations

from maskmim.errors import UserError


class ModelError(UserError, ValueError):
    """Sizes or names that no model can be built from."""
