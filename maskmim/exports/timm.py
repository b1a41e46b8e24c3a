"""Encoders as networks of timm, for `timm.create_model("local-dir:FOLDER", pretrained=True)`."""

from __future__ import annotations

from typing import Any

import numpy as np

from maskmim.exports.classifier import Classifier, classifier_of
from maskmim.exports.counterpart import (
    CLASSIFICATION,
    FEATURES,
    Counterpart,
    convert,
    identity_norm,
)
from maskmim.exports.encoders import (
    Beit,
    ConvNext,
    Encoder,
    Swin,
    Vit,
    encoder_of,
    mlp_ratio,
    one_or_pair,
)
from maskmim.exports.hf import check_patch, dropped
from maskmim.exports.preprocessing import crop_fraction
from maskmim.exports.subject import ExportError, Subject
from maskmim.interop import encoder_layouts, relative_layouts, stage_layouts

# (depth, width, heads) -> timm's name of the size; others are written as changes of the base.
SIZES = {
    (12, 192, 3): "tiny",
    (12, 384, 6): "small",
    (12, 768, 12): "base",
    (24, 1024, 16): "large",
}
LOAD = """import timm
{pictures}
tokens = model.forward_features(images)
features = model(images)  # pooled"""
LOAD_CLASSIFIER = """import timm
{pictures}
logits = model(images)
print([model.pretrained_cfg["label_names"][index] for index in logits.argmax(-1).tolist()])
tokens = model.forward_features(images)
# timm.create_model(..., num_classes=0) leaves the classifier out."""
MODEL = """
model = timm.create_model("local-dir:" + FOLDER, pretrained=True).eval()"""
PICTURE = """from PIL import Image
{model}
settings = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**settings, is_training=False)
images = transform(Image.open("photo.jpg").convert("RGB"))[None]"""
OTHER = """{model}
images = ...  # f32[B, {channels}, {height}, {width}], normalised as below"""
# Epsilon of the norms, which timm's builders do not take; that of ConvNeXt is an argument.
VIT_EPSILON, SWIN_EPSILON = 1e-6, 1e-5


def timm(subject: Subject) -> Counterpart:
    """Return the network of timm that the run's encoder is; ExportError where there is none."""
    encoder = encoder_of(subject, "timm")
    if len(encoder.size) != 2:
        raise ExportError(
            "--to timm: timm's networks see pictures, this one sees clips: --to hf or --to jax"
        )
    if isinstance(encoder, Vit):
        return _vit(subject, encoder)
    if isinstance(encoder, Beit):
        return _beit(subject, encoder)
    if isinstance(encoder, Swin):
        return _swin(subject, encoder)
    return _convnext(subject, encoder)


def _counterpart(
    subject: Subject,
    encoder: Encoder,
    architecture: str,
    arguments: dict[str, Any],
    arrays: dict[str, np.ndarray],
    *remarks: str,
    first: str = "patch_embed.proj",
    last: str = "head",
    classifier: Classifier | None = None,
) -> Counterpart:
    """Return the counterpart; first, last: timm's names of the first and the last layer."""
    *_, channels = encoder.patch
    height, width = encoder.size
    fraction = crop_fraction(subject)
    classes = classifier.classes if classifier else 0
    preprocessing = {
        "input_size": [channels, height, width],
        "fixed_input_size": "img_size" in arguments,
        "interpolation": "bicubic",
        "crop_pct": fraction or 1.0,
        "crop_mode": "center",
        "mean": list(subject.spec.mean),
        "std": list(subject.spec.std),
        "num_classes": classes,
        "first_conv": first,
        "classifier": last,
        "custom_load": False,
    }
    pool = arguments["global_pool"]
    config = {
        "architecture": architecture,
        "num_classes": classes,
        "num_features": subject.net.width,
        "global_pool": pool,
        "model_args": arguments,
        "pretrained_cfg": preprocessing,
        **({"label_names": list(classifier.titles)} if classifier else {}),
    }
    made = PICTURE if fraction and channels == 3 and subject.spec.dtype == "uint8" else OTHER
    pictures = made.format(model=MODEL, channels=channels, height=height, width=width)
    load = (LOAD_CLASSIFIER if classifier else LOAD).format(pictures=pictures)
    task = CLASSIFICATION if classifier else FEATURES
    kept = (classifier.call,) if classifier else ()
    named = classifier.remarks if classifier else ()
    remarks = (*remarks, *named, *dropped(subject, *kept))
    return Counterpart(architecture, config, arrays, load, remarks, task)


def _pooling(subject: Subject, class_token: bool, classifier: Classifier | None = None) -> str:
    pooling = classifier.pooling if classifier else subject.config.evals.pooling
    return "token" if class_token and pooling == "class" else "avg"


def _check_epsilon(encoder: Encoder, epsilon: float, name: str) -> None:
    if encoder.epsilon != epsilon:
        raise ExportError(
            f"--to timm: norms of its {name} add {epsilon:g} to the variance, those of this run "
            f"{encoder.epsilon:g} (model.norm_eps): --to hf keeps that"
        )


def _vit(subject: Subject, encoder: Vit) -> Counterpart:
    _check_epsilon(encoder, VIT_EPSILON, "VisionTransformer")
    *patch, channels = encoder.patch
    classifier = _classifier(subject, encoder)
    norm = classifier.norm if classifier else None
    pool = _pooling(subject, encoder.class_token, classifier)
    arguments = {
        "img_size": list(encoder.size),
        "patch_size": one_or_pair(tuple(patch)),
        "in_chans": channels,
        "embed_dim": encoder.width,
        "depth": encoder.depth,
        "num_heads": encoder.heads,
        "mlp_ratio": mlp_ratio(encoder),
        "class_token": encoder.class_token,
        "reg_tokens": encoder.registers,
        "no_embed_class": True,
        "global_pool": pool,
        "fc_norm": norm is not None,
        **({"init_values": 1.0} if encoder.scaled else {}),
        **({} if encoder.last_norm or norm else {"final_norm": False}),
    }
    entries = encoder_layouts.timm_vit(
        encoder.patch,
        encoder.depth,
        class_token=encoder.class_token,
        registers=bool(encoder.registers),
        scaled=encoder.scaled,
        last_norm=encoder.last_norm,
    )
    arrays = convert(entries, encoder.leaves, "timm's VisionTransformer")
    arrays["pos_embed"] = encoder.positions[None].astype(np.float32)
    if norm:
        arrays |= {"fc_norm.weight": norm.scale, "fc_norm.bias": norm.bias}
    if classifier:
        arrays |= classifier.linear("head")
    size = SIZES.get((encoder.depth, encoder.width, encoder.heads), "base")
    name = f"vit_{size}_patch16_224"
    return _counterpart(subject, encoder, name, arguments, arrays, classifier=classifier)


def _classifier(subject: Subject, encoder: Vit) -> Classifier | None:
    """Return the classifier of a run where timm's ViT can have it: with one last norm of 1e-6."""
    classifier = classifier_of(subject)
    norm = classifier.norm if classifier else None
    fits = norm is None or (not encoder.last_norm and norm.epsilon == VIT_EPSILON)
    return classifier if fits else None


def _beit(subject: Subject, encoder: Beit) -> Counterpart:
    _check_epsilon(encoder, VIT_EPSILON, "Beit")
    _check_square_grid(encoder, "Beit")
    *patch, channels = encoder.patch
    arguments = {
        "img_size": list(encoder.size),
        "patch_size": one_or_pair(tuple(patch)),
        "in_chans": channels,
        "embed_dim": encoder.width,
        "depth": encoder.depth,
        "num_heads": encoder.heads,
        "mlp_ratio": mlp_ratio(encoder),
        "init_values": 0.1,
        "use_abs_pos_emb": False,
        "use_rel_pos_bias": False,
        "use_shared_rel_pos_bias": True,
        "use_fc_norm": False,
        "global_pool": _pooling(subject, True),
    }
    entries = relative_layouts.timm_beit(encoder.patch, encoder.depth)
    arrays = convert(entries, encoder.leaves, "timm's Beit")
    return _counterpart(subject, encoder, "beit_base_patch16_224", arguments, arrays)


def _check_square_grid(encoder: Beit | Swin, name: str) -> None:
    rows, columns = encoder.grid
    if rows != columns:
        raise ExportError(
            f"--to timm: timm resizes the position biases of its {name} on grids that are not "
            f"square, this one is {rows}x{columns}: --to jax"
        )


def _swin(subject: Subject, encoder: Swin) -> Counterpart:
    _check_epsilon(encoder, SWIN_EPSILON, "SwinTransformer")
    _check_square_grid(encoder, "SwinTransformer")
    check_patch(encoder, "timm")
    arguments = {
        "img_size": list(encoder.size),
        "patch_size": encoder.patch[0],
        "in_chans": encoder.patch[-1],
        "embed_dim": encoder.width,
        "depths": list(encoder.depths),
        "num_heads": list(encoder.heads),
        "window_size": encoder.window,
        "global_pool": "avg",
    }
    entries = stage_layouts.timm_swin(encoder.patch, encoder.depths)
    arrays = convert(entries, encoder.leaves, "timm's SwinTransformer")
    name = "swin_base_patch4_window7_224"
    return _counterpart(subject, encoder, name, arguments, arrays, last="head.fc")


def _convnext(subject: Subject, encoder: ConvNext) -> Counterpart:
    check_patch(encoder, "timm")
    if len(encoder.depths) != 4:
        raise ExportError(
            f"--to timm: its ConvNeXt has four stages, this one {len(encoder.depths)}: --to hf"
        )
    widths = [encoder.width << stage for stage in range(4)]
    arguments = {
        "in_chans": encoder.patch[-1],
        "patch_size": encoder.patch[0],
        "dims": widths,
        "depths": list(encoder.depths),
        "norm_eps": encoder.epsilon,
        "global_pool": "avg",
    }
    entries = stage_layouts.timm_convnext(encoder.depths)
    arrays = convert(entries, encoder.leaves, "timm's ConvNeXt")
    arrays |= identity_norm("head.norm", widths[-1])
    remark = "The norm behind its pooling is fresh: this network has none."
    names = {"first": "stem.0", "last": "head.fc"}
    return _counterpart(subject, encoder, "convnextv2_base", arguments, arrays, remark, **names)
