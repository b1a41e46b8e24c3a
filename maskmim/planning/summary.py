"""What a training will do, as text for people: the start-up sheet and the plan."""

from __future__ import annotations

import math

import jax
from ml_collections import ConfigDict

from maskmim.planning import cost
from maskmim.reporting.progress import sheet
from maskmim.training.build import Assembly
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree


def training(config: ConfigDict, parts: Assembly, examples: int) -> str:
    """The sheet that a training shows before it starts."""
    rows = [*chain(config, parts), *size(config, parts), *schedule(config, parts, examples)]
    return sheet("maskmim: pretraining", [*rows, *devices(parts)])


def chain(config: ConfigDict, parts: Assembly) -> list[tuple[str, str]]:
    """The method from tokens to loss, with the tokens an example has, shows and predicts."""
    variables = cost.variables_shapes(parts)
    tokens = cost.tokens_per_example(parts.method, variables, cost.batch_shapes(config, 2))
    seen = f"{tokens.all} an image, {tokens.visible} seen, {tokens.predicted} predicted"
    tokens_line, *rest = parts.method.chain
    return [tokens_line, ("", seen), *rest]


def size(config: ConfigDict, parts: Assembly, flops: float | None = None) -> list[tuple[str, str]]:
    """Parameters and arithmetic; flops: `cost.train_flops_per_example` where it is known."""
    groups = ", ".join(
        f"{name} {millions(cost.count(group))}" for name, group in parts.shapes.params.items()
    )
    if flops is None:
        flops = cost.train_flops_per_example(config, parts)
    return [
        ("parameters", f"{millions(cost.count(parts.shapes.params))} ({groups})"),
        ("arithmetic", f"{flops / 1e9:.3g} GFLOP an image, forward and backward (XLA's count)"),
    ]


def schedule(config: ConfigDict, parts: Assembly, examples: int) -> list[tuple[str, str]]:
    """Data, batch, learning rate and length."""
    train = config.train
    scaled = f" = {config.optim.lr:g} x {train.batch_size} / {config.optim.lr_per}"
    return [
        ("data", f"{config.data.train.brick} ({examples} images)"),
        batch(config),
        ("peak rate", f"{parts.peak:.3g}{scaled if config.optim.lr_per else ''}"),
        ("length", f"{parts.span.steps} steps ({train.epochs:g} epochs)"),
    ]


def batch(config: ConfigDict) -> tuple[str, str]:
    """The images of a step."""
    train = config.train
    split = f" in {train.micro_batches} micro-batches" if train.micro_batches > 1 else ""
    return "batch", f"{train.batch_size} images{split}"


def devices(parts: Assembly) -> list[tuple[str, str]]:
    """Devices and mesh."""
    kinds = sorted({device.device_kind for device in parts.mesh.devices.flat})
    axes = ", ".join(f"{axis} {size}" for axis, size in parts.mesh.shape.items())
    return [
        ("devices", f"{parts.mesh.size} x {', '.join(kinds)} ({jax.default_backend()})"),
        ("mesh", axes),
    ]


def shardings(parts: Assembly) -> list[tuple[str, str]]:
    """A line for every parameter: path, shape and how it is split; then optimiser and extra.

    Arrays of these that have a parameter's path and split are one line together.
    """
    params = placed(parts.shapes.params, parts.places.params)
    rows = [(path, words) for path, words in params.items()]
    for name in ("opt_state", "extra"):
        arrays = placed(getattr(parts.shapes, name), getattr(parts.places, name))
        alike = [path for path, words in arrays.items() if words == of_parameter(path, params)]
        label = "optimiser" if name == "opt_state" else name
        if alike:
            rows.append((label, f"{len(alike)} arrays split like the parameters they belong to"))
        rows += [(f"{label}: {path}", arrays[path]) for path in arrays if path not in alike]
    return rows


def placed(shapes: Tree, places: Tree) -> dict[str, str]:
    """{path: '768x768 split (-, fsdp)'} of a tree of arrays and their places."""
    found = {}
    for (path, leaf), place in zip(named_leaves(shapes), jax.tree.leaves(places), strict=True):
        axes = [axis or "-" for axis in place.spec]
        split = f"split ({', '.join(axes)})" if any(place.spec) else "whole"
        shape = "x".join(map(str, leaf.shape)) or "scalar"
        found[path] = f"{shape:<20} {split}"
    return found


def of_parameter(path: str, params: dict[str, str]) -> str | None:
    """What is said of the parameter that a path of optimiser or extra ends in; None for none."""
    steps = path.split("/")
    ends = ("/".join(steps[start:]) for start in range(len(steps)))
    return next((params[end] for end in ends if end in params), None)


def memory(config: ConfigDict, parts: Assembly, *, compiled: bool) -> list[tuple[str, str]]:
    """Bytes on each device: the state by kind, and the compiled step's where asked."""
    rows = [
        (name, size_text(cost.bytes_per_device(shapes, places)))
        for name, shapes, places in (
            ("parameters", parts.shapes.params, parts.places.params),
            ("optimiser", parts.shapes.opt_state, parts.places.opt_state),
            ("extra", parts.shapes.extra, parts.places.extra),
        )
    ]
    if compiled:
        rows += [(f"step: {k}", size_text(v)) for k, v in cost.step_memory(config, parts).items()]
    return rows


def millions(values: int) -> str:
    """A count of parameters: 111.9 M, 4.1 k."""
    return f"{values / 1e6:.1f} M" if values >= 1e5 else f"{values / 1e3:.1f} k"


def size_text(size: int) -> str:
    """Bytes in binary units: 1.5 GiB."""
    power = min(4, max(0, int(math.log(max(size, 1), 1024))))
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 1024**power:.4g} {unit}"
