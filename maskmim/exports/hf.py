"""Runs as networks of transformers: ViTMAE with its decoder, else the encoder alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from maskmim.exports.classifier import Classifier, classifier_of
from maskmim.exports.counterpart import CLASSIFICATION, Counterpart, convert, identity_norm
from maskmim.exports.encoders import (
    SCALES,
    Beit,
    ConvNext,
    Encoder,
    Swin,
    Vit,
    encoder_of,
    mlp_ratio,
    one_or_pair,
)
from maskmim.exports.subject import ExportError, Subject
from maskmim.exports.vit_mae import vit_mae
from maskmim.interop import encoder_layouts, relative_layouts, stage_layouts
from maskmim.interop.layout import Arrays
from maskmim.models.layers.posembed import sinusoid

ELSE = "--to timm or --to jax"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
LOAD = """from transformers import {name}

model = {name}.from_pretrained(FOLDER{options}).eval()
features = model({call}).last_hidden_state"""
CLASSIFIER = "ViTForImageClassification"
LOAD_CLASSIFIER = f"""from transformers import {CLASSIFIER}

model = {CLASSIFIER}.from_pretrained(FOLDER).eval()
logits = model(pixel_values=images).logits
print([model.config.id2label[index] for index in logits.argmax(-1).tolist()])
features = model.vit(pixel_values=images).last_hidden_state"""


def hf(subject: Subject, *, encoder_only: bool = False) -> Counterpart:
    """Return the network of transformers that a run's is.

    encoder_only: leave out a decoder or a classifier that transformers would have.
    Raises ExportError, in one sentence, for what transformers does not have.
    """
    encoder = encoder_of(subject, "hf")
    if isinstance(encoder, Vit):
        whole = None if encoder_only else vit_mae(subject, encoder)
        return whole or _vit(subject, encoder, None if encoder_only else classifier_of(subject))
    writers: Mapping[type, Callable[[Any], Counterpart]] = {
        Beit: _beit,
        Swin: _swin,
        ConvNext: _convnext,
    }
    made = writers[type(encoder)](encoder)
    remarks = (*made.remarks, *dropped(subject))
    return made._replace(remarks=remarks)


def dropped(subject: Subject, *kept: str) -> tuple[str, ...]:
    """Return what of the run's network is left out, but for the encoder and what else is kept."""
    parts = [name for name in subject.params if name not in ("encoder", *kept)]
    embeddings = {"mask_token": "the mask embedding", "source_embedding": "the source embeddings"}
    mask = [words for name, words in embeddings.items() if name in subject.params["encoder"]]
    learned = subject.config.calls
    words = [f"the learned function {n}" if n in learned else f"the {n}" for n in parts] + mask
    return (f"Left out: {', '.join(words)}.",) if words else ()


def _shared(encoder: Encoder, architecture: str, model_type: str) -> dict[str, Any]:
    *patch, channels = encoder.patch
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "dtype": "float32",
        "image_size": one_or_pair(encoder.size[-2:]),
        "patch_size": one_or_pair(tuple(patch[-2:])),
        "num_channels": channels,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.epsilon,
    }


def _blocks(encoder: Vit | Beit) -> dict[str, Any]:
    return {
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        **NO_DROPOUT,
    }


def _load(name: str, options: str = "", call: str = "pixel_values=images") -> str:
    return LOAD.format(name=name, options=options, call=call)


def _vit(subject: Subject, encoder: Vit, classifier: Classifier | None) -> Counterpart:
    if not encoder.last_norm:
        raise ExportError(
            "--to hf: transformers' ViTs have a norm behind the last block, this run's has none "
            f"(model.last_norm): {ELSE}; finetune:pooling=class trains an encoder with one"
        )
    if len(encoder.size) == 3:
        made = _videomae(encoder)
    elif not encoder.class_token:
        raise ExportError(
            "--to hf: transformers has no ViT without a class token: --to timm has one"
        )
    elif encoder.registers or encoder.scaled:
        made = _dinov2(encoder)
    elif classifier and classifier.pooling == "class" and classifier.norm is None:
        made = _classified(_plain(encoder), classifier)
        return made._replace(remarks=(*made.remarks, *dropped(subject, classifier.call)))
    else:
        made = _plain(encoder)
    return made._replace(remarks=(*made.remarks, *dropped(subject)))


def _plain(encoder: Vit) -> Counterpart:
    entries = encoder_layouts.hf_vit(encoder.patch, encoder.depth)
    config = {
        **_shared(encoder, "ViTModel", "vit"),
        **_blocks(encoder),
        "intermediate_size": encoder.hidden,
        "qkv_bias": True,
    }
    arrays = convert(entries, encoder.leaves, "transformers' ViTModel")
    arrays["embeddings.position_embeddings"] = with_class_row(encoder.positions)
    remark = "ViTModel has a pooler, which nothing here trained: add_pooling_layer=False omits it."
    load = _load("ViTModel", ", add_pooling_layer=False")
    return Counterpart("ViTModel", config, arrays, load, (remark,))


def _classified(made: Counterpart, classifier: Classifier) -> Counterpart:
    """Return a ViTModel with a classifier of its class token."""
    titles = classifier.titles
    config = {
        **made.config,
        "architectures": [CLASSIFIER],
        "problem_type": "single_label_classification",
        "id2label": {str(number): title for number, title in enumerate(titles)},
        "label2id": {title: number for number, title in enumerate(titles)},
    }
    arrays = {f"vit.{name}": array for name, array in made.arrays.items()}
    arrays |= classifier.linear("classifier")
    return Counterpart(
        CLASSIFIER, config, arrays, LOAD_CLASSIFIER, classifier.remarks, CLASSIFICATION
    )


def with_class_row(positions: np.ndarray) -> np.ndarray:
    """Return a table f32[N, D] as [1, 1 + N, D], zeros for the class token."""
    return np.pad(positions, ((1, 0), (0, 0)))[None].astype(np.float32)


def _dinov2(encoder: Vit) -> Counterpart:
    name, kind = "Dinov2Model", "dinov2"
    if encoder.registers:
        name, kind = "Dinov2WithRegistersModel", "dinov2_with_registers"
    check_square(encoder, name)
    ratio = mlp_ratio(encoder)
    config = {
        **_shared(encoder, name, kind),
        **_blocks(encoder),
        "mlp_ratio": int(ratio) if ratio.is_integer() else ratio,
        "qkv_bias": True,
        "use_swiglu_ffn": False,
        "layerscale_value": 1.0,
        "drop_path_rate": 0.0,
        **({"num_register_tokens": encoder.registers} if encoder.registers else {}),
    }
    ones = np.ones((encoder.depth, encoder.width), np.float32)
    leaves = {**dict.fromkeys(SCALES, ones), **encoder.leaves}
    entries = encoder_layouts.hf_dinov2(
        encoder.patch, encoder.depth, registers=bool(encoder.registers)
    )
    arrays = convert(entries, leaves, f"transformers' {name}")
    arrays["embeddings.position_embeddings"] = with_class_row(encoder.positions)
    arrays["embeddings.mask_token"] = np.zeros((1, encoder.width), np.float32)
    remarks = ("Its mask token is zeros: no input of an encoder alone is masked.",)
    return Counterpart(name, config, arrays, _load(name), remarks)


def check_square(encoder: Vit | Swin | Beit, name: str) -> None:
    """Raise ExportError unless pictures and patches are square."""
    *patch, _ = encoder.patch
    for what, sides in (("inputs", encoder.size[-2:]), ("patches", tuple(patch[-2:]))):
        if sides[0] != sides[1]:
            raise ExportError(
                f"--to hf: {name} of transformers takes square {what} only, these are "
                f"{sides[0]}x{sides[1]}: {ELSE}"
            )


def _videomae(encoder: Vit) -> Counterpart:
    name = "VideoMAEModel"
    check_square(encoder, name)
    fixed = sinusoid(encoder.width, encoder.grid)
    if encoder.class_token or encoder.registers or encoder.scaled:
        raise ExportError(
            f"--to hf: {name} has neither a class token nor registers nor LayerScale: --to jax "
            "writes this encoder"
        )
    if np.abs(encoder.positions - fixed).max() > 1e-6:
        raise ExportError(
            f"--to hf: {name} computes sinusoid positions, this encoder has others: --to jax"
        )
    config = {
        **_shared(encoder, name, "videomae"),
        **_blocks(encoder),
        "intermediate_size": encoder.hidden,
        "num_frames": encoder.size[0],
        "tubelet_size": encoder.patch[0],
        "qkv_bias": True,
        "use_mean_pooling": False,
    }
    entries = encoder_layouts.hf_videomae(encoder.patch, encoder.depth)
    arrays = convert(entries, encoder.leaves, f"transformers' {name}")
    return Counterpart(name, config, arrays, _load(name, call="pixel_values=clips"))


def _beit(encoder: Beit) -> Counterpart:
    name = "BeitModel"
    check_square(encoder, name)
    config = {
        **_shared(encoder, name, "beit"),
        **_blocks(encoder),
        "intermediate_size": encoder.hidden,
        "use_mask_token": False,
        "use_absolute_position_embeddings": False,
        "use_relative_position_bias": False,
        "use_shared_relative_position_bias": True,
        "layer_scale_init_value": 0.1,
        "drop_path_rate": 0.0,
        "use_mean_pooling": False,
    }
    entries = relative_layouts.hf_beit(encoder.patch, encoder.depth)
    arrays = convert(entries, encoder.leaves, f"transformers' {name}")
    return Counterpart(name, config, arrays, _load(name))


def _swin(encoder: Swin) -> Counterpart:
    name = "SwinModel"
    check_square(encoder, name)
    config = {
        **_shared(encoder, name, "swin"),
        "embed_dim": encoder.width,
        "depths": list(encoder.depths),
        "num_heads": list(encoder.heads),
        "window_size": encoder.window,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "use_absolute_embeddings": False,
        "drop_path_rate": 0.0,
        **NO_DROPOUT,
    }
    entries = stage_layouts.hf_swin(encoder.patch, encoder.depths)
    arrays = convert(entries, encoder.leaves, f"transformers' {name}")
    return Counterpart(name, config, arrays, _load(name))


def _convnext(encoder: ConvNext) -> Counterpart:
    name = "ConvNextV2Model"
    check_patch(encoder, "hf")
    widths = [encoder.width << stage for stage in range(len(encoder.depths))]
    config = {
        **_shared(encoder, name, "convnextv2"),
        "hidden_sizes": widths,
        "depths": list(encoder.depths),
        "num_stages": len(encoder.depths),
        "drop_path_rate": 0.0,
    }
    arrays: Arrays = convert(
        stage_layouts.hf_convnext(encoder.depths), encoder.leaves, f"transformers' {name}"
    )
    arrays |= identity_norm("layernorm", widths[-1])
    remark = "The norm behind its pooling is fresh: this network has none."
    return Counterpart(name, config, arrays, _load(name), (remark,))


def check_patch(encoder: ConvNext | Swin, target: str) -> None:
    """Raise ExportError unless the patches of the first stage are square."""
    rows, columns, _ = encoder.patch
    if rows != columns:
        raise ExportError(
            f"--to {target}: it has square patches only, these are {rows}x{columns}: --to jax"
        )
