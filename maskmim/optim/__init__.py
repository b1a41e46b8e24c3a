"""Optimisers as bricks: (schedule, batch_size, *, hyperparameters) -> optax transformation.

All have lr and lr_per: the peak learning rate is lr * batch_size / lr_per. `adamw`, `sgd`, `lars`,
`lamb`, `lion`, `adafactor` and `muon` share clip_norm and no_decay; all of these but `adamw` also
have rates, factors for groups of parameters, which AdamW has as `adamw_by_path`. `adamw_dino` is
DINO's recipe, `adamw_rising_decay` MSN's, `adamw_layerwise` MAE's for fine-tuning;
`without_spikes` and `frozen_until` wrap any of them.
"""

from maskmim.optim.adam import adamw
from maskmim.optim.by_path import adamw_by_path
from maskmim.optim.dino import adamw_dino
from maskmim.optim.factored import adafactor
from maskmim.optim.frozen import frozen_until
from maskmim.optim.large_batch import lamb
from maskmim.optim.layerwise import adamw_layerwise
from maskmim.optim.momentum import lars, sgd
from maskmim.optim.orthogonal import muon
from maskmim.optim.rising_decay import adamw_rising_decay
from maskmim.optim.sign import lion
from maskmim.optim.skip_spikes import without_spikes

__all__ = [
    "adafactor",
    "adamw",
    "adamw_by_path",
    "adamw_dino",
    "adamw_layerwise",
    "adamw_rising_decay",
    "frozen_until",
    "lamb",
    "lars",
    "lion",
    "muon",
    "sgd",
    "without_spikes",
]
