"""Writes tests/golden/sma/values.npz with the official SMA, run once on two tiny cases.

  git clone https://github.com/Johnathan-Xie/sma    # bdc18778c675bf850079b6bf45c167c470329442
  python -m tests.golden.sma.record sma

Runs SMAForSSL in training mode on a CPU in float32 with the weights, inputs and queries of
tests/golden/sma/case.py, the masking in its branch of fixed length, inside an installed
transformers. Names that this has lost are empty classes, as nothing here runs them, but
get_head_mask, which returns a None for each layer. Stores hidden tokens, predictions, the loss, all
gradients one after another in the order of the case's layout, and what the encoder makes of whole
inputs.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import transformers.models

from tests.golden.sma import case
from tests.torchvision_operators import DefineBeforeImport

LOST = {
    "onnx": ("OnnxConfig",),
    "onnx.utils": ("compute_effective_axis_dimension",),
    "pytorch_utils": ("find_pruneable_heads_and_indices", "prune_linear_layer", "meshgrid"),
    "utils": (
        "add_start_docstrings",
        "add_start_docstrings_to_model_forward",
        "replace_return_docstrings",
    ),
}


def define_lost_names() -> None:
    """Define what the code imports and an installed transformers may lack."""
    for module, names in LOST.items():
        name = f"transformers.{module}"
        try:
            holder = importlib.import_module(name)
        except ModuleNotFoundError:
            holder = sys.modules[name] = ModuleType(name)
        for each in names:
            if not hasattr(holder, each):
                setattr(holder, each, type(each, (), {}))


def official(folder: str, kind: str) -> torch.nn.Module:
    """The official model with the case's sizes and weights."""
    sys.meta_path.insert(0, DefineBeforeImport())
    define_lost_names()
    transformers.models.__path__.append(str(Path(folder) / "src/transformers/models"))
    configuration = importlib.import_module("transformers.models.sma.configuration_sma")
    modeling = importlib.import_module("transformers.models.sma.modeling_sma")
    modeling.SMAModel.get_head_mask = lambda self, head_mask, layers: [head_mask] * layers  # None
    masking = {
        "masking_ratio": case.RATIO,
        "num_per_query": case.PER_QUERY,
        "varying_length": False,
    }
    decoder = {
        "query_num_channels": case.EMBEDDING,
        "qk_channels": None,
        "v_channels": None,
        "num_heads": case.DECODER_HEADS,
    }
    config = configuration.SMAConfig(
        num_latents=case.LATENTS,
        latent_channels=case.WIDTH,
        embedded_channels=case.EMBEDDING,
        num_self_attends_per_block=case.DEPTH,
        num_self_attention_heads=case.HEADS,
        num_cross_attention_heads=case.READ_HEADS,
        v_channels=case.WIDTH,
        max_position_embeddings=case.LENGTH,
        input_type={"amounts": "continuous", "indices": "discrete"}[kind],
        input_channels=case.CHANNELS,
        num_discrete_tokens=case.VOCABULARY,
        cross_train_noising_args=[("RandomlySelectedCrossAttentionMasking", masking)],
        teacher_args={
            "reconstruction_decoder_args": decoder,
            "reconstruction_loss_fn": {"amounts": "mse", "indices": "crossentropy"}[kind],
        },
    )
    model = modeling.SMAForSSL(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(case.weight(name, tuple(parameter.shape))))
    return model


def run(model: torch.nn.Module, kind: str) -> dict[str, np.ndarray]:
    """What the model makes of the case's inputs."""
    inputs = torch.from_numpy(case.inputs(kind))
    inputs = inputs if kind == "amounts" else inputs[..., 0].long()
    ones = torch.ones(case.EXAMPLES, case.LENGTH)
    hidden = torch.zeros(case.EXAMPLES, case.LENGTH, dtype=torch.long)
    predictions = []
    head = model.teacher.reconstruction_decoder.final_project
    hook = head.register_forward_hook(lambda module, given, output: predictions.append(output))
    permutations, draw = iter(torch.from_numpy(case.queries())), torch.randperm
    torch.randperm = lambda count, device: next(permutations)
    options = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
    loss = model.train()(inputs, attention_mask=ones, loss_mask=hidden, **options).loss
    torch.randperm = draw
    hook.remove()
    loss.backward()
    with torch.no_grad():
        whole = model.eval().perceiver(inputs, attention_mask=ones, **options)
    learnt = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    names = [entry.name for entry in case.layout(kind)]
    if set(names) != set(learnt):
        raise AssertionError(f"not in both: {sorted(set(names) ^ set(learnt))}")
    return {
        "hidden": hidden.numpy().astype(bool),
        "predictions": predictions[0].detach().numpy(),
        "loss": np.float32(loss.item()),
        "gradients": np.concatenate([learnt[name].reshape(-1) for name in names]),
        "latents": whole.last_hidden_state.numpy(),
    }


def main(folder: str) -> None:
    """Run both cases, and store what comes out."""
    found = {}
    for kind in case.KINDS:
        made = run(official(folder, kind), kind)
        print(f"{kind}: loss {made['loss']:.6f}, {made['hidden'].sum(1)} hidden")
        found |= {f"{kind}_{name}": array for name, array in made.items()}
    np.savez_compressed(case.GOLDEN, **found)
    print(f"{len(found)} arrays in {case.GOLDEN.name}, {case.GOLDEN.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1])
