"""What the command cannot do."""

from __future__ import annotations

from maskmim.errors import UserError


class EmbedError(UserError, ValueError):
    """A source, an option or an output that does not fit."""
