"""Learning-rate schedules as bricks: span -> (step -> factor in [0, 1] of the peak)."""

from maskmim.schedules.multistep import warmup_multistep
from maskmim.schedules.warmup import warmup_constant, warmup_cosine

__all__ = ["warmup_constant", "warmup_cosine", "warmup_multistep"]
