"""Streams of which nothing can be shown, such as text, points and features."""

from __future__ import annotations

from maskmim.modalities.modality import Modality


def unseen() -> Modality:
    """Return the modality of arrays that have no picture and no untrained encoders."""
    return Modality(None)
