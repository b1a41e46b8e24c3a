"""Models of tiny configs with weights that nothing has trained."""

import jax

from maskmim.config.load import load
from maskmim.inference.loaded import Loaded
from maskmim.inference.model import Model
from maskmim.training.build import build_method
from maskmim.types import Variables, random_key


def untrained(name: str, **keywords) -> Model:
    """The model of `name:tiny`."""
    name, _, argument = name.partition(":")
    config = load(f"{name}:{','.join(filter(None, ['tiny', argument]))}")
    spec, method = build_method(config)
    shapes = jax.eval_shape(method.init, random_key(0))
    params, extra = shapes if keywords.pop("shapes", False) else jax.jit(method.init)(random_key(0))
    return Model(Loaded(config, spec, method, Variables(params, extra, ()), name, 0), **keywords)
