"""Objectives on the tokens that the encoder sees, in place of those that are hidden from it."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from maskmim.config.describe import needs_of, title
from maskmim.config.ranges import NonNegative, PositiveInt
from maskmim.models.calls import call_of
from maskmim.models.captured_blocks import block_output, class_token
from maskmim.models.layers import constraints
from maskmim.objectives.matching import compare, match
from maskmim.types import Array, Encoded, Objective, View


def match_visible(
    *,
    call: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    class_target: Callable[[View], Array] | None = None,
    layer: PositiveInt | None = None,
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare what a learned function makes of the encoder's visible tokens with a target.

    call:         name of the function, [B, n, D] -> f32[B, n, V], a brick `config.calls.<call>`,
                  such as `models.projectors.linear`.
    target:       brick, view -> f32[B, K, V]; the view's predicted tokens are the visible ones, so
                  that targets of hidden tokens serve here too.
    loss:         brick, (prediction, target) -> f32[B, n].
    class_target: brick, view -> f32[B, 1, V], with which the class token is compared by the same
                  function as one more token; None leaves it out.
    layer:        block whose output the function gets, from 1, before the last norm; None for the
                  encoder's output. Gradients reach this block and those before it.
    scale:        factor in the sum of objectives.
    A visible token weighs 1, one that carries the mask embedding in its place 0, the class token 1.
    Raises ModelError as `match` does, and for a class token or a block that the encoder lacks.
    """

    def find(view: View):
        encoded = view.encoded if layer is None else block_output(view.encoded, layer)
        seen = on_visible(view)
        wanted, weight = target(seen), seen.mask.weight
        if class_target is not None:
            wanted = jnp.concatenate([class_target(seen), wanted], axis=1)
            weight = jnp.pad(weight, ((0, 0), (1, 0)), constant_values=1.0)
        tokens = visible_tokens(encoded, class_target is not None)
        prediction = call_of(view.net, call)(view.params, tokens)
        key = f"calls.{call}.values"
        per_token = compare(f"function {call!r}", prediction, wanted, loss, weight, key)
        return per_token, weight, {}, ()

    needs = needs_of(target) + (needs_of(class_target) if class_target else ())
    where = "" if layer is None else f" after block {layer}"
    return Objective(
        needs=tuple(dict.fromkeys(needs)),
        scale=scale,
        find=find,
        says=f"visible tokens{where}: {title(target)}, {title(loss)}",
        calls=(call,),
        captures=() if layer is None else ("layers",),
    )


def match_visible_head(
    *,
    head: str,
    target: Callable[[View], Array],
    loss: Callable[[Array, Array], Array],
    scale: NonNegative = 1.0,
) -> Objective:
    """Compare a head that predicts at the visible tokens with a target at them.

    head: name of a head with f32[B, K, V] at the visible tokens, in the order of `Mask.visible`.
    Other keywords, weights and what is raised are those of `match` and `match_visible`. Nothing is
    drawn.
    """
    of_tokens = match(head=head, target=target, loss=loss, scale=scale)
    return Objective(
        needs=of_tokens.needs,
        scale=scale,
        find=lambda view: of_tokens.find(on_visible(view)),
        says=f"visible tokens: {of_tokens.says}",
    )


def on_visible(view: View) -> View:
    """Return the view as if the visible tokens were the predicted ones, those seen with weight 1.

    Of an encoder into which hidden tokens enter as mask embeddings these weigh 0; of one that
    leaves out visible tokens on its way, those that are left count as visible.
    """
    mask, kept = view.mask, view.encoded.kept
    seen = mask.visible if kept is None else jnp.take_along_axis(mask.visible, kept, axis=1)
    withheld = jnp.take_along_axis(mask.hidden, seen, axis=1)
    weight = 1.0 - withheld.astype(jnp.float32)
    return view._replace(mask=mask._replace(predict=seen, weight=weight))


def visible_tokens(encoded: Encoded, with_class: bool) -> Array:
    """Return the visible tokens [B, K, D], or the class token and them [B, 1 + K, D]."""
    if not with_class:
        return encoded.tokens
    return constraints.concat_tokens(class_token(encoded.prefix), encoded.tokens)
