"""Writes tests/golden/capi/values.npz with the official CAPI, run once on a tiny case.

  git clone https://github.com/facebookresearch/capi
  python -m tests.golden.capi.record capi

Runs EncoderDecoder, L2NormLinear, OnlineClustering and sinkhorn_knopp of model.py with the weights,
pictures and masks of tests/golden/capi/case.py on a CPU in float32, in the order of do_teacher and
do_student of train_capi.py, whose few lines are repeated here because that file imports a cluster's
libraries; the teacher is the student itself, no path is dropped. Type annotations (jaxtyping) and
the config reader (omegaconf) are replaced by stand-ins, and weight_norm is cut out of utils.py.
Recorded from commit 98b4fa17ee8eec8810c17022df9a27a44845368b.
"""

from __future__ import annotations

import ast
import importlib
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tests.golden.capi import case


class Annotation:
    """Stands for jaxtyping's shapes."""

    def __class_getitem__(cls, _: object) -> type:
        """Any shape."""
        return cls


def weight_norm_of(folder: Path) -> types.ModuleType:
    """utils.py without all but its weight norm."""
    tree = ast.parse((folder / "utils.py").read_text())
    kept = [
        node for node in tree.body if getattr(node, "name", "") in ("WeightNorm", "weight_norm")
    ]
    given = {
        "Module": torch.nn.Module,
        "Parameter": torch.nn.Parameter,
        "UninitializedParameter": torch.nn.parameter.UninitializedParameter,
        "norm_except_dim": torch.norm_except_dim,
        "Any": object,
    }
    exec(compile(ast.Module(kept, []), "utils.py", "exec"), given)
    found = types.ModuleType("utils")
    found.weight_norm = given["weight_norm"]
    return found


def official(folder: Path) -> types.ModuleType:
    """The official model.py."""
    shapes, config = types.ModuleType("jaxtyping"), types.ModuleType("omegaconf")
    shapes.Float = shapes.Int = Annotation
    config.OmegaConf = None
    sys.modules.update(jaxtyping=shapes, omegaconf=config, utils=weight_norm_of(folder))
    sys.path.insert(0, str(folder))
    return importlib.import_module("model")


def built(model: types.ModuleType) -> torch.nn.ModuleDict:
    """The student, its head and the clusters, with the case's weights."""
    sizes = {"embed_dim": case.WIDTH, "drop_path_rate": 0.0}
    backbone = model.EncoderDecoder(
        patch_size=case.PATCH,
        n_registers=case.REGISTERS,
        transformers_kwargs={**sizes, "block_kwargs": {"attn_kwargs": {"num_heads": case.HEADS}}},
        encoder_kwargs={"depth": case.DEPTH},
        decoder_kwargs={"depth": case.DECODER_DEPTH},
    ).init_weights()
    clusters = model.OnlineClustering(
        case.WIDTH,
        case.CLUSTERS,
        bias=True,
        n_sk_iter=case.ITERATIONS,
        target_temp=case.TARGET,
        pred_temp=case.STUDENT,
    )
    parts = {"head": model.L2NormLinear(case.WIDTH, case.CLUSTERS), "clusters": clusters}
    whole = torch.nn.ModuleDict({"backbone": backbone, **parts})
    with torch.no_grad():
        for name, parameter in learnt(whole).items():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return whole


def learnt(whole: torch.nn.ModuleDict) -> dict[str, torch.nn.Parameter]:
    """The parameters by the case's names, without the fixed frequencies."""
    named = ((name.removeprefix("backbone."), p) for name, p in whole.named_parameters())
    return {name: parameter for name, parameter in named if "rope" not in name}


def main(folder: str) -> None:
    """Runs both passes, and stores what comes out."""
    model = official(Path(folder))
    whole = built(model)
    backbone, mask = whole["backbone"], case.mask()
    pictures = torch.from_numpy(case.pictures())
    first = 16 * np.arange(case.EXAMPLES)[:, None]
    predict, visible = (torch.from_numpy((x + first).reshape(-1)) for x in mask[1::-1])

    with torch.no_grad():
        tokens, _ = backbone.forward_pretrain(pictures)
    assignments, clustering = whole["clusters"](tokens.transpose(0, 1))
    clustering.backward()
    assignments = assignments.transpose(0, 1)
    target = assignments.reshape(-1, case.CLUSTERS)[predict]
    encoded, predicted = backbone.forward_pretrain(
        pictures, visible_indices=visible, predict_indices=predict, do_prediction=True
    )
    prediction = whole["head"](predicted)
    loss = -torch.sum(target * F.log_softmax(prediction / case.STUDENT, dim=-1), dim=-1).mean()
    loss.backward()

    rope = backbone.encoder.blocks[0].residual1.fn.rope
    places = torch.from_numpy(np.random.RandomState(4).rand(1, 5, 2).astype(np.float32))
    channels = torch.from_numpy(np.random.RandomState(5).rand(1, 5, 8).astype(np.float32))
    parameters = learnt(whole)
    names = [entry.name for entry in case.layout()]
    if sorted(names) != sorted(parameters):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(parameters))}")
    gradients = [parameters[name].grad.reshape(-1)[:: case.EVERY] for name in names]
    border = backbone.get_edge_coordinates(12, torch.float32, torch.device("cpu"))
    found = {
        "tokens": tokens,
        "assignments": assignments,
        "clustering": clustering,
        "encoded": encoded,
        "prediction": prediction.reshape(case.EXAMPLES, -1, case.CLUSTERS),
        "student": loss,
        "gradients": torch.cat(gradients),
        "sinkhorn": model.sinkhorn_knopp(torch.from_numpy(case.scores()), case.ITERATIONS),
        "frequencies": rope.freqs,
        "turned": rope(channels, places),
        "border": border[0],
    }
    np.savez_compressed(case.GOLDEN, **{name: x.detach().numpy() for name, x in found.items()})
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
