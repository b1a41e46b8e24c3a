"""XLA's count of FLOPs against arithmetic by hand, and bytes against sums."""

import re

import pytest

from maskmim import errors, plan
from maskmim.config.load import load
from maskmim.planning import cost
from maskmim.runtime import exits
from maskmim.training.build import assemble

pytestmark = pytest.mark.full


def dense(tokens, width, hidden, depth):
    """Multiplications and additions of a transformer's matrix products, forward."""
    projections = tokens * (4 * width * width + 2 * width * hidden)
    attention = 2 * tokens * tokens * width
    return 2 * depth * (projections + attention)


def test_a_step_of_vit_s_costs_what_its_matrix_products_cost():
    config = load("configs/mae.py:variant=S/16")
    parts = assemble(config, 1000)
    patches = 2 * 768 * (49 * 384 + 147 * 512)  # visible ones embedded, predicted ones read out
    encoder = dense(50, 384, 1536, 12)
    decoder = dense(197, 512, 2048, 8) + 2 * 50 * 384 * 512
    by_hand = 3 * (patches + encoder + decoder)
    assert cost.train_flops_per_example(config, parts) == pytest.approx(by_hand, rel=0.03)


def test_tokens_and_parameters_of_vit_b():
    config = load("configs/colormae.py")
    parts = assemble(config, 1000)
    variables = cost.variables_shapes(parts)
    tokens = cost.tokens_per_example(parts.method, variables, cost.batch_shapes(config, 2))
    assert tokens == (196, 49, 147)
    # 111.9 M with both fixed position tables (official README), which are no parameters here.
    tables = 197 * 768 + 197 * 512
    assert cost.count_parameters(parts.shapes.params) + tables == pytest.approx(111.91e6, abs=5e3)


def test_plan_prints_chain_parameters_and_memory(capsys):
    flags = ["--config=configs/colormae.py:tiny", "--compile", "--parameters"]
    assert exits.run(plan.main, flags) == errors.DONE
    text = capsys.readouterr().out
    for said in (
        "image 4x4",
        "16 per image, 4 visible, 12 predicted",
        "masks.colour.green",
        "MFLOP",
    ):
        assert said in text
    assert "encoder/stack/blocks/attention/qkv/kernel" in text
    assert "temporaries" in text and "KiB" in text
    assert re.search(r"images/s +[\d,]+\na step +16 images in", text)
    assert text.rstrip().splitlines()[-1].startswith("training")


def test_plan_without_flags_ends_with_the_bytes(capsys):
    assert exits.run(plan.main, ["--config=configs/colormae.py:tiny"]) == errors.DONE
    text = capsys.readouterr().out
    assert "qkv/kernel" not in text
    assert re.search(r"state in all +[\d.]+ KiB\n\n--compile adds .* images/s", text)
