"""Writes tests/golden/maskgit/values.npz with what the official MaskGIT makes of maskgit_case.

  git clone https://github.com/google-research/maskgit    # 1db23594e1bd328ee78eadcd148a19281cd0f5b8
  sed -i '/^  def squared_euclidean_distance$/d' maskgit/maskgit/nets/discriminator.py
  PYTHONPATH=.:maskgit python -m tests.golden.maskgit.record

The second line takes out a stray one that Python refuses. The official functions run as they are,
on parameters of ours under their names. Decoding runs its loop in Python, so that each step can be
given its noise. jax.numpy.DeviceArray, an annotation there, is gone from JAX and put back.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

jnp.DeviceArray = jax.Array

from maskgit.configs import vqgan_config  # noqa: E402
from maskgit.libml import losses, mask_schedule, parallel_decode  # noqa: E402
from maskgit.nets import discriminator, maskgit_transformer, vqgan_tokenizer  # noqa: E402

from tests.golden.maskgit import case  # noqa: E402

GOLDEN = Path(__file__).with_name("values.npz")


def main() -> None:
    """Records everything."""
    stored = {
        **schedules(),
        "decoded": decoded(),
        "logits": transformer(),
        **tokenizer(),
        **judged(),
        "cross_entropy": cross_entropy(),
    }
    np.savez_compressed(GOLDEN, **{name: np.asarray(value) for name, value in stored.items()})
    print({name: np.shape(value) for name, value in stored.items()}, GOLDEN.stat().st_size)


def schedules() -> dict[str, np.ndarray]:
    """Masked tokens after each step, before the clip to what is left, and curves."""
    counts = np.zeros((len(case.TABLE_TOKENS), 33, 33), np.int16)
    for row, tokens in enumerate(case.TABLE_TOKENS):
        for steps in case.TABLE_STEPS:
            ratio = 1.0 * (jnp.arange(steps) + 1) / steps
            share = mask_schedule.schedule(ratio, tokens, "cosine")
            counts[row, steps, :steps] = jnp.floor(tokens * share)
    places = jnp.linspace(0.01, 0.99, 50)
    names = {"linear": "uniform", "cosine": "cosine", "power": "pow2.5", "logarithm": "log"}
    names["exponential"] = "exp"
    curves = {
        f"curve_{ours}": mask_schedule.schedule(places, 256, theirs)
        for ours, theirs in names.items()
    }
    return {"counts": counts, **curves}


def decoded() -> np.ndarray:
    """The official loop on the toy model: i32[B, steps, N]."""
    drawn = iter([array for step in range(case.STEPS) for array in case.noise(step)])

    def categorical(key, logits):
        return jnp.argmax(logits + next(drawn), axis=-1)

    def loop(condition, body, state):
        while condition(state):
            state = body(state)
        return state

    lax = SimpleNamespace(while_loop=loop, dynamic_update_slice=jax.lax.dynamic_update_slice)
    with (
        mock.patch.object(parallel_decode, "lax", lax),
        mock.patch.object(jax.random, "categorical", categorical),
        mock.patch.object(jax.random, "gumbel", lambda key, shape: next(drawn)),
    ):
        return parallel_decode.decode(
            jnp.asarray(case.sequences(-1)),
            jax.random.PRNGKey(0),
            case.toy_logits,
            num_iter=case.STEPS,
            choice_temperature=case.TEMPERATURE,
        )


def transformer() -> np.ndarray:
    """Logits of the codes: f32[B, N, codes]."""
    params = case.params_of(case.transformer().init, 0.2)["transformer"]
    rows = np.delete(params["vocabulary"], case.CODES + case.CLASSES, axis=0)
    official = {
        "Embed_0": {
            "word_embeddings": {"embedding": rows},
            "position_embeddings": {"embedding": params["positions"]},
            "embeddings_ln": params["norm"]["norm"],
        },
        "MlmLayer_0": {
            "mlm_dense": params["head"],
            "mlm_ln": params["head_norm"]["norm"],
            "mlm_bias": {"bias": np.pad(params["bias"], (0, len(rows) - case.CODES))},
        },
    }
    for layer in range(case.DEPTH):
        block = jax.tree.map(lambda x, at=layer: x[at], params["blocks"])
        official[f"TransformerLayer_{layer}"] = official_layer(block)
    labels = np.arange(case.EXAMPLES)[:, None] % case.CLASSES + case.CODES
    ids = np.concatenate([labels, case.sequences(-1)], axis=1)
    module = maskgit_transformer.Transformer(
        len(rows), case.WIDTH, case.DEPTH, case.HEADS, 4 * case.WIDTH,
        max_position_embeddings=1 + case.TOKENS,
    )  # fmt: skip
    return module.apply({"params": official}, jnp.asarray(ids))[:, 1:, : case.CODES]


def official_layer(block: dict) -> dict:
    """A block of ours under the official names."""
    qkv = block["attention"]["qkv"]
    heads = {
        name: {"kernel": qkv["kernel"][:, place], "bias": qkv["bias"][place]}
        for place, name in enumerate(("query", "key", "value"))
    }
    return {
        "Attention_0": {
            "self_attention": {**heads, "out": block["attention"]["out"]},
            "attention_output_ln": block["norm1"]["norm"],
        },
        "Mlp_0": {
            "intermediate_output": block["mlp"]["up"],
            "layer_output": block["mlp"]["down"],
            "layer_output_ln": block["norm2"]["norm"],
        },
    }


def tokenizer() -> dict[str, np.ndarray]:
    """Vectors, codes and losses of two pictures, and the picture of the codes."""
    config = vqgan_config.get_config()
    config.vqvae.filters = case.AUTOENCODER["width"]
    config.vqvae.num_res_blocks = case.AUTOENCODER["blocks"]
    config.vqvae.channel_multipliers = list(case.AUTOENCODER["levels"])
    config.vqvae.embedding_dim = case.AUTOENCODER["codes_width"]
    config.vqvae.codebook_size = case.AUTOENCODER["codes"]
    params = case.params_of(case.autoencoder().init, 0.05)
    official = {
        "encoder": official_part(params["encoder"], ("conv_in", "conv_out"), ENCODER),
        "decoder": official_part(params["decoder"], ("conv_in", "conv_up1", "conv_out"), DECODER),
        "quantizer": {"codebook": params["codebook"]["vectors"]},
    }
    module = vqgan_tokenizer.VQVAE(config=config, train=True)
    given = {"image": jnp.asarray(case.pictures())}
    _, found = module.apply({"params": official}, given, method=module.encode)
    picture = module.apply(
        {"params": official}, found["encoding_indices"], method=module.decode_from_indices
    )
    names = {"raw": "vectors", "encoding_indices": "codes", "q_latent_loss": "codebook"}
    names |= {"e_latent_loss": "commitment", "entropy_loss": "entropy"}
    return {ours: found[theirs] for theirs, ours in names.items()} | {"picture": picture}


ENCODER = ("level0_block0", "level1_block0", "last_block0")
DECODER = ("first_block0", "level1_block0", "level0_block0")


def official_part(ours: dict, convolutions: tuple[str, ...], blocks: tuple[str, ...]) -> dict:
    """Encoder or decoder of ours under the official names."""
    named = {f"Conv_{place}": ours[name] for place, name in enumerate(convolutions)}
    named["GroupNorm_0"] = ours["norm_out"]["norm"]
    return named | {
        f"ResBlock_{place}": official_block(ours[name]) for place, name in enumerate(blocks)
    }


def official_block(ours: dict) -> dict:
    """A residual block of ours under the official names."""
    named = {"GroupNorm_0": ours["norm1"]["norm"], "Conv_0": ours["conv1"]}
    named |= {"GroupNorm_1": ours["norm2"]["norm"], "Conv_1": ours["conv2"]}
    return named | ({"Conv_2": ours["conv_short"]} if "conv_short" in ours else {})


def judged() -> dict[str, np.ndarray]:
    """The discriminator's scores and the losses of two pictures against their halves."""
    config = vqgan_config.get_config()
    config.image_size = case.PICTURE.size[0]
    ours = case.params_of(case.critic().init, 0.03)
    block = {"Conv_0": ours["block0"]["conv1"], "Conv_1": ours["block0"]["conv_short"]}
    block["Conv_2"] = ours["block0"]["conv2"]
    official = {"Conv_0": ours["conv_in"], "Conv_1": ours["conv_out"], "ResBlock_0": block}
    official |= {"Dense_0": ours["dense"], "Dense_1": ours["dense_out"]}

    def net(train):
        return discriminator.Discriminator(config=config, train=train)

    true = jnp.asarray(case.pictures())
    variables = {"params": official}
    scores, slope = losses.r1_gradient_penalty(net, variables, true, 1.0)
    drawn = net(False).apply(variables, 0.5 * true)
    kind = "non-saturating"
    return {
        "scores": scores[:, 0],
        "slope": slope,
        "adversarial": losses.generator_loss(fake_logit=drawn, loss_type=kind),
        "discriminator": losses.discriminator_loss(
            real_logit=scores, fake_logit=drawn, loss_type=kind
        ),
    }


def cross_entropy() -> np.ndarray:
    """The loss of codes with label smoothing, tokens weighted within their example."""
    logits, codes, counted = case.smoothed()
    given = {"labels": codes, "logits": logits, "weights": counted, "label_smoothing": 0.1}
    return losses.weighted_sequence_cross_entropy_loss(**given)


if __name__ == "__main__":
    main()
