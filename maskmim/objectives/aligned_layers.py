"""The objective that compares visible tokens of an encoder with several layers of a teacher."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from maskmim.config.describe import title
from maskmim.config.ranges import NonNegative
from maskmim.models.calls import call_of
from maskmim.models.captured_blocks import captured_layers, check_class_token
from maskmim.models.layers.errors import ModelError
from maskmim.models.layers.patches import gather
from maskmim.objectives.matching import compare
from maskmim.objectives.visible import on_visible
from maskmim.types import Array, Encoded, Mean, Objective, View


def align_layers(
    *,
    call: str,
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare what a learned function makes of all blocks with layers of a teacher.

    call:  name of the function, f32[depth, B, n, D] -> f32[L, B, n, V], a brick
           `config.calls.<call>` such as `models.layer_mix.layer_mix`; it gets the class token and
           the visible tokens of every block.
    loss:  brick, (prediction, target) -> f32[B, n], of one layer.
    scale: factor in the sum of objectives.
    The target is the hints 'layers' f32[L, B, N, V], at the visible tokens, and 'class_layers'
    f32[L, B, V], which `teachers.frozen.features` gives with `layers` and `class_token`. A token's
    loss is the mean over layers; tokens weigh as in `objectives.match_visible`. The metrics
    'layer_<number>', from 1, are the losses of the layers in the order of the hints.
    Raises ModelError for a function of another number of layers or of values, and for an encoder
    without a class token.
    Source: MaskAlign (arXiv 2211.08887), forward_loss of models_pretrain.py,
    OpenDriveLab/maskalign.
    """

    def find(view: View):
        seen = on_visible(view)
        weight = jnp.pad(seen.mask.weight, ((0, 0), (1, 0)), constant_values=1.0)
        predictions = call_of(view.net, call)(view.params, tokens_of_blocks(view.encoded))
        targets = visible_layers(seen)
        if len(predictions) != len(targets):
            raise ModelError(
                f"calls.{call} predicts {len(predictions)} layers, the teacher gives "
                f"{len(targets)}: give both the same layers"
            )
        maker, key = f"function {call!r}", f"calls.{call}.values"
        losses = [
            compare(maker, prediction, target, loss, weight, key)
            for prediction, target in zip(predictions, targets, strict=True)
        ]
        total = jnp.sum(weight)
        metrics = {
            f"layer_{number}": Mean(jnp.sum(each * weight), total)
            for number, each in enumerate(losses, start=1)
        }
        return jnp.mean(jnp.stack(losses), axis=0), weight, metrics, ()

    return Objective(
        needs=("layers", "class_layers"),
        scale=scale,
        find=find,
        says=f"layers of a teacher on visible tokens, {title(loss)}",
        calls=(call,),
        captures=("layers",),
    )


def tokens_of_blocks(encoded: Encoded) -> Array:
    """Return the class token and the visible tokens that all blocks put out: [depth, B, 1 + K, D].

    Raises ModelError where the blocks were not captured or there is no class token.
    """
    layers, prefix = captured_layers(encoded), encoded.prefix.shape[1]
    check_class_token(encoded.prefix)
    return jnp.concatenate([layers[:, :, :1], layers[:, :, prefix:]], axis=2)


def visible_layers(seen: View) -> Array:
    """Return the teacher's layers at the class token and the visible ones: f32[L, B, 1 + K, V].

    seen: of `visible.on_visible`.
    """
    hints = seen.context.hints
    tokens = jax.vmap(gather, (0, None))(hints["layers"], seen.mask.predict)
    return jnp.concatenate([hints["class_layers"][:, :, None], tokens], axis=2)
