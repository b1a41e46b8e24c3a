"""The start-up sheet of a training and the rows of a plan, as text."""

from __future__ import annotations

import math

import jax
from ml_collections import ConfigDict

from maskmim.planning import cost
from maskmim.reporting.progress import format_rows
from maskmim.training.build import Assembly
from maskmim.tree_paths import named_leaves
from maskmim.types import Tree


def start_sheet(config: ConfigDict, parts: Assembly, examples: int) -> str:
    """Return the sheet that a training prints before it starts."""
    rows = [
        *method_rows(config, parts),
        *model_rows(config, parts),
        *schedule_rows(config, parts, examples),
    ]
    return format_rows("maskmim: pretraining", [*rows, *device_rows(parts)])


def method_rows(config: ConfigDict, parts: Assembly) -> list[tuple[str, str]]:
    """Return the rows of the method, from tokens to loss, with the number of tokens."""
    variables = cost.variables_shapes(parts)
    tokens = cost.tokens_per_example(parts.method, variables, cost.batch_shapes(config, 2))
    counts = f"{tokens.all} per image, {tokens.visible} visible, {tokens.predicted} predicted"
    tokens_row, *rows = parts.method.chain
    return [tokens_row, ("", counts), *rows]


def model_rows(
    config: ConfigDict, parts: Assembly, flops: float | None = None
) -> list[tuple[str, str]]:
    """Return the rows of parameters and FLOPs.

    flops: result of `cost.train_flops_per_example`, None to compute it.
    """
    groups = ", ".join(
        f"{name} {count_text(cost.count_parameters(group))}"
        for name, group in parts.shapes.params.items()
    )
    if flops is None:
        flops = cost.train_flops_per_example(config, parts)
    return [
        ("parameters", f"{count_text(cost.count_parameters(parts.shapes.params))} ({groups})"),
        ("compute", f"{flops / 1e9:.3g} GFLOP per image, forward and backward (XLA's count)"),
    ]


def schedule_rows(config: ConfigDict, parts: Assembly, examples: int) -> list[tuple[str, str]]:
    """Return the rows of data, batch size, peak learning rate and length."""
    train = config.train
    scaled = f" = {config.optim.lr:g} x {train.batch_size} / {config.optim.lr_per}"
    return [
        ("data", f"{config.data.train.brick} ({examples} images)"),
        batch_row(config),
        ("learning rate", f"peak {parts.peak:.3g}{scaled if config.optim.lr_per else ''}"),
        ("length", f"{parts.span.steps} steps ({train.epochs:g} epochs)"),
    ]


def batch_row(config: ConfigDict) -> tuple[str, str]:
    """Return the row of the batch size."""
    train = config.train
    split = f" in {train.micro_batches} micro-batches" if train.micro_batches > 1 else ""
    return "batch", f"{train.batch_size} images{split}"


def device_rows(parts: Assembly) -> list[tuple[str, str]]:
    """Return the rows of devices and device mesh."""
    kinds = sorted({device.device_kind for device in parts.mesh.devices.flat})
    axes = ", ".join(f"{axis} {size}" for axis, size in parts.mesh.shape.items())
    return [
        ("devices", f"{parts.mesh.size} x {', '.join(kinds)} ({jax.default_backend()})"),
        ("mesh", axes),
    ]


def sharding_rows(parts: Assembly) -> list[tuple[str, str]]:
    """Return a row per parameter with path, shape and sharding, then optimiser and extra.

    Arrays of optimiser and extra that share a parameter's path and sharding are one row.
    """
    params = sharding_texts(parts.shapes.params, parts.shardings.params)
    rows = list(params.items())
    for name in ("opt_state", "extra"):
        arrays = sharding_texts(getattr(parts.shapes, name), getattr(parts.shardings, name))
        alike = [path for path, text in arrays.items() if text == parameter_text(path, params)]
        label = "optimiser" if name == "opt_state" else name
        if alike:
            rows.append((label, f"{len(alike)} arrays sharded like their parameters"))
        rows += [(f"{label}: {path}", arrays[path]) for path in arrays if path not in alike]
    return rows


def sharding_texts(shapes: Tree, shardings: Tree) -> dict[str, str]:
    """Return {path: '768x768  sharded (-, fsdp)'} for a tree of arrays."""
    texts = {}
    leaves = zip(named_leaves(shapes), jax.tree.leaves(shardings), strict=True)
    for (path, leaf), sharding in leaves:
        axes = [axis or "-" for axis in sharding.spec]
        split = f"sharded ({', '.join(axes)})" if any(sharding.spec) else "replicated"
        shape = "x".join(map(str, leaf.shape)) or "scalar"
        texts[path] = f"{shape:<20} {split}"
    return texts


def parameter_text(path: str, params: dict[str, str]) -> str | None:
    """Return the text of the parameter that a path ends in; None where it ends in none."""
    steps = path.split("/")
    ends = ("/".join(steps[start:]) for start in range(len(steps)))
    return next((params[end] for end in ends if end in params), None)


def memory_rows(config: ConfigDict, parts: Assembly, *, compiled: bool) -> list[tuple[str, str]]:
    """Return the rows of bytes per device: the state by kind, and those of the compiled step.

    compiled: compile the step to know its bytes.
    """
    rows = [
        (name, size_text(cost.bytes_per_device(shapes, shardings)))
        for name, shapes, shardings in (
            ("parameters", parts.shapes.params, parts.shardings.params),
            ("optimiser", parts.shapes.opt_state, parts.shardings.opt_state),
            ("extra", parts.shapes.extra, parts.shardings.extra),
        )
    ]
    if compiled:
        sizes = cost.step_memory(config, parts)
        rows += [(f"step: {kind}", size_text(size)) for kind, size in sizes.items()]
    return rows


def count_text(values: int) -> str:
    """Format a number of parameters as 111.9 M or 4.1 k."""
    return f"{values / 1e6:.1f} M" if values >= 1e5 else f"{values / 1e3:.1f} k"


def size_text(size: int) -> str:
    """Format bytes in binary units, as 1.5 GiB."""
    power = min(4, max(0, int(math.log(max(size, 1), 1024))))
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 1024**power:.4g} {unit}"
