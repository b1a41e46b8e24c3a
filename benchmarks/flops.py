"""Count the training FLOPs of one example for every published recipe, into docs/flops.json.

  python -m benchmarks.flops [NAME ...]      counts these methods again, or all of docs/methods.yaml

Forward and backward, by XLA's count of the unrolled step before optimisation, with teachers and
tokenizers, without the optimiser. Nothing runs, so the count does not depend on the machine. Takes
about a minute per config.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from maskmim.config.load import load, override
from maskmim.imagenet import TRAIN_IMAGES
from maskmim.planning.cost import train_flops_per_example
from maskmim.training.build import assemble

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "flops.json"
EXAMPLES = 4  # MixedAE's groups


def count_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the size and GFLOP of an example of a recipe {'config', 'with': [overrides]}."""
    config = override(load(recipe["config"]), recipe.get("with", []))
    flops = train_flops_per_example(config, assemble(config, TRAIN_IMAGES), EXAMPLES)
    return {
        "config": recipe["config"],
        "with": recipe.get("with", []),
        "input": "x".join(map(str, config.input.size)),
        "gflop": round(flops / 1e9, 2),
    }


def main(names: list[str]) -> int:
    """Run the script and return its exit code: 2 for a name that docs/methods.yaml lacks."""
    methods = yaml.safe_load((ROOT / "docs" / "methods.yaml").read_text(encoding="utf-8"))
    recipes = {method["name"]: method["recipes"] for method in methods}
    unknown = [name for name in names if name not in recipes]
    if unknown:
        print(f"docs/methods.yaml has no {', '.join(unknown)}", file=sys.stderr)
        return 2
    counts = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in names or recipes:
        for recipe in recipes[name]:
            counts[recipe["config"]] = count_recipe(recipe)
            print(f"{recipe['config']:<50}{counts[recipe['config']]['gflop']:>10.2f} GFLOP")
            FILE.write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
