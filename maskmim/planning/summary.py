"""The start-up sheet of a training and the rows of a plan, as text."""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from maskmim.errors import count_of
from maskmim.planning import cost
from maskmim.planning.feeding import DataSet
from maskmim.reporting.progress import format_duration, format_rows
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
    return format_rows(f"maskmim: {parts.method.does}", [*rows, *device_rows(parts)])


def method_rows(config: ConfigDict, parts: Assembly) -> list[tuple[str, str]]:
    """Return the rows of the method, from tokens to loss, with the number of tokens."""
    variables = cost.variables_shapes(parts)
    # Of a whole batch, from shapes alone: a sampler of groups draws no mask of fewer examples.
    batch = cost.batch_shapes(config, config.train.batch_size)
    tokens = cost.tokens_per_example(parts.method, variables, batch)
    whole = tokens.all == tokens.visible == tokens.predicted  # as a classifier sees them
    counts = f"{tokens.visible} visible, {tokens.predicted} predicted"
    counts = f"{tokens.all} per image, {'all visible' if whole else counts}"
    tokens_row, *rows = parts.method.chain
    return [tokens_row, ("", counts), *rows]


def model_rows(
    config: ConfigDict, parts: Assembly, flops: float | None = None
) -> list[tuple[str, str]]:
    """Return the rows of parameters and FLOPs, with a warning where the decoder is the larger part.

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
        *decoder_warning(config, parts),
        ("compute", f"{flops_text(flops)} per image, forward and backward (XLA's count)"),
    ]


def decoder_warning(config: ConfigDict, parts: Assembly) -> list[tuple[str, str]]:
    """Return a row where the decoder has more parameters than the encoder, no row elsewhere."""
    counts = {name: cost.count_parameters(group) for name, group in parts.shapes.params.items()}
    if counts.get("decoder", 0) <= counts.get("encoder", math.inf):
        return []
    keys = [f"--config.model.{key}" for key in ("decoder_depth", "decoder_width", "decoder")]
    keys = [key for key in keys if key.rpartition(".")[2] in config.model]
    how = f", change it with {' and '.join(keys)}" if keys else ""
    return [("", f"warning: the decoder is larger than the encoder, which alone is kept{how}")]


def schedule_rows(config: ConfigDict, parts: Assembly, examples: int) -> list[tuple[str, str]]:
    """Return the rows of data, batch size, peak learning rate and length."""
    train, times = config.train, config.data.repeats
    repeats = f", {times} crops of each" if times > 1 else ""
    scaled = f" = {config.optim.lr:g} x {train.batch_size} / {config.optim.lr_per}"
    return [
        ("data", f"{config.data.train.brick} ({count_of(examples, 'image')}{repeats})"),
        batch_row(config),
        ("learning rate", f"peak {parts.peak:.3g}{scaled if config.optim.lr_per else ''}"),
        ("length", f"{count_of(parts.span.steps, 'step')} ({count_of(train.epochs, 'epoch')})"),
    ]


def batch_row(config: ConfigDict) -> tuple[str, str]:
    """Return the row of the batch size."""
    train = config.train
    split = f" in {train.micro_batches} micro-batches" if train.micro_batches > 1 else ""
    return "batch", f"{count_of(train.batch_size, 'image')}{split}"


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
            arrays_text = count_of(len(alike), "array")
            rows.append((label, f"{arrays_text} sharded like their parameters"))
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


def memory_rows(parts: Assembly, step: Mapping[str, int] | None = None) -> list[tuple[str, str]]:
    """Return the rows of bytes per device: the state by kind, and those of a step.

    step: result of `cost.step_memory`, which includes the state; None without a compiled step.
    """
    state = {
        name: cost.bytes_per_device(shapes, shardings)
        for name, shapes, shardings in (
            ("parameters", parts.shapes.params, parts.shardings.params),
            ("optimiser", parts.shapes.opt_state, parts.shardings.opt_state),
            ("extra", parts.shapes.extra, parts.shardings.extra),
        )
    }
    rows = {**state, "state in all": sum(state.values())}
    if step:
        rows |= {f"step: {kind}": size for kind, size in step.items()}
        rows["step in all"] = sum(step.values())
    return [(name, size_text(size)) for name, size in rows.items()]


def speed_rows(config: ConfigDict, data: DataSet, seconds: float) -> list[tuple[str, str]]:
    """Return the rows of the speed of a step that takes `seconds`."""
    batch = config.train.batch_size
    speed = batch / seconds
    whole = format_duration(config.train.epochs * data.images / speed)
    return [
        ("images/s", f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"),
        ("a step", f"{count_of(batch, 'image')} in {seconds:.3g} s, data loading not counted"),
        ("training", f"{whole} for {count_of(config.train.epochs, 'epoch')} of {data.text}"),
    ]


def flops_text(flops: float) -> str:
    """Format floating-point operations as 125 GFLOP or 3.09 MFLOP."""
    power = min(4, max(1, int(math.log10(max(flops, 1)) // 3)))
    return f"{flops / 1000**power:.3g} {('k', 'M', 'G', 'T')[power - 1]}FLOP"


def count_text(values: int) -> str:
    """Format a number of parameters as 111.9 M or 4.1 k."""
    return f"{values / 1e6:.1f} M" if values >= 1e5 else f"{values / 1e3:.1f} k"


def size_text(size: int) -> str:
    """Format bytes in binary units, as 1.5 GiB."""
    power = min(4, max(0, int(math.log(max(size, 1), 1024))))
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{size / 1024**power:.4g} {unit}"
