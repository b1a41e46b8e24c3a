"""Projectors and predictors: MLPs on pooled features, as learned functions of `config.calls`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import jax.numpy as jnp
from flax import linen as nn

from maskmim.config.ranges import DtypeName, Limits, Positive, PositiveInt
from maskmim.models.layers import constraints
from maskmim.models.layers.batch_norm import BatchNorm
from maskmim.models.layers.blocks import Dtype, xavier
from maskmim.models.layers.dense import Dense
from maskmim.models.layers.errors import ModelError
from maskmim.types import Array, LearnedFunction, Tree

NormName = Literal["batch", "layer", "none"]
ActivationName = Literal["relu", "gelu"]
# Dense layers of a projector; more of them is a slip.
_Layers = Annotated[int, Limits(1, 100)]
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "gelu": lambda x: nn.gelu(x, approximate=False),
}
LAYER_NORM_EPSILON = 1e-6


class Mlp(nn.Module):
    """Dense layers with a norm and an activation between them, and perhaps a norm at the end.

    widths: of the outputs of the dense layers, which are called dense_0, dense_1, ...
    """

    widths: tuple[int, ...]
    norm: str
    activation: str
    biases: bool
    last_norm: bool
    dtype: Dtype
    epsilon: float = LAYER_NORM_EPSILON

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [..., D] to f32[..., widths[-1]]."""
        for number, width in enumerate(self.widths):
            dense = Dense(
                width,
                use_bias=self.biases,
                kernel_init=xavier,
                dtype=self.dtype,
                name=f"dense_{number}",
            )
            x = constraints.constrain_examples(dense(x)).astype(jnp.float32)
            last = number == len(self.widths) - 1
            if not last or self.last_norm:
                x = self._normalise(x, f"norm_{number}")
            if not last:
                x = ACTIVATIONS[self.activation](x)
        return x

    def _normalise(self, x: Array, name: str) -> Array:
        if self.norm == "batch":
            return BatchNorm(name=name)(x)
        if self.norm == "layer":
            return nn.LayerNorm(self.epsilon, name=name)(x)
        return x


def mlp(
    width: int,
    *,
    layers: _Layers = 2,
    hidden: PositiveInt = 4096,
    values: PositiveInt | None = None,
    inputs: PositiveInt | None = None,
    norm: NormName = "batch",
    activation: ActivationName = "relu",
    biases: bool = False,
    last_norm: bool = False,
    norm_eps: Positive = LAYER_NORM_EPSILON,
    dtype: DtypeName = "float32",
) -> LearnedFunction:
    """Return an MLP on pooled features f32[B, inputs], such as a projector or a predictor.

    layers: of matrix products; hidden: values between them.
    values: that come out; inputs: that go in; None for the width of the encoder.
    norm:   after each layer but the last: 'batch', by the statistics of the batch (epsilon 1e-5),
            'layer' (norm_eps) or 'none'; last_norm: one after the last layer too.
    biases: of the matrix products.
    dtype:  of the matrix products; norms and results are float32.
    Call: (params, f32[..., inputs]) -> f32[..., values]. Kernels start as Xavier's uniform.
    Statistics of the batch are those of the global batch on any mesh; micro-batches have their own,
    so that losses depend on their number. No running averages are kept, as the MLP is thrown away.
    Raises ModelError, when called, for other than `inputs` values.
    Source: the defaults are LUT's: models_lut.py (_build_mlp), docs/PRETRAIN.md, naver-ai/lut.
    """
    entering, leaving = inputs or width, values or width
    widths = (*(hidden,) * (layers - 1), leaving)
    module = Mlp(widths, norm, activation, biases, last_norm, jnp.dtype(dtype), norm_eps)

    def init(key: Array) -> Tree:
        return module.init(key, jnp.zeros((2, entering), jnp.float32))["params"]

    def call(params: Tree, x: Array) -> Array:
        if x.shape[-1] != entering:
            raise ModelError(
                f"an MLP on {entering} values gets {x.shape[-1]}: set its `inputs` under "
                "config.calls to what the objective or teacher hands to it"
            )
        return module.apply({"params": params}, x)

    words = " > ".join(map(str, (entering, *widths)))
    if layers == 1 and not last_norm:
        return LearnedFunction(init, call, f"linear {words}")
    norms = {"batch": "batch norm", "layer": "layer norm", "none": "no norm"}[norm]
    return LearnedFunction(init, call, f"MLP {words}, {norms}, {activation}")


def linear(
    width: int, *, values: PositiveInt | None = None, dtype: DtypeName = "float32"
) -> LearnedFunction:
    """Return one dense layer with a bias on the tokens of an encoder, such as a distillation head.

    values, dtype: as of `mlp`.
    Call: (params, f32[..., width of the encoder]) -> f32[..., values].
    params: {'dense_0': {'kernel', 'bias'}}; the kernel starts as Xavier's uniform, the bias at 0.
    """
    return mlp(width, layers=1, values=values, norm="none", biases=True, dtype=dtype)
