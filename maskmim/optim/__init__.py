"""Optimisers as bricks: (schedule, batch_size, *, hyperparameters) -> optax transformation."""

from maskmim.optim.adam import adamw
from maskmim.optim.by_path import adamw_by_path
from maskmim.optim.dino import adamw_dino
from maskmim.optim.skip_spikes import without_spikes

__all__ = ["adamw", "adamw_by_path", "adamw_dino", "without_spikes"]
