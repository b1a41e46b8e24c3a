"""`--print-config`: every key with its value, type, default and mark."""

import pytest

from maskmim.config import load
from maskmim.config.command_line import command_line
from maskmim.config.defaults import base
from maskmim.config.print_config import mark_of, print_config
from maskmim.config.serialize import leaves


def rows(text: str) -> dict[str, str]:
    """{key: the rest of its line} of a table."""
    lines = [line.split(maxsplit=1) for line in text.splitlines()[2:] if line]
    return {line[0]: line[1] for line in lines}


def test_every_key_has_a_line_with_value_type_and_mark():
    config = base()
    table = rows(print_config(config))
    assert list(table) == [key for key, _ in leaves(config)]
    expected = "0.75 a number between 0 and 1 (both excluded) [result]"
    assert table["mask.ratio"].split() == expected.split()
    assert table["mask.brick"].split() == ["maskmim.masks.uniform.random", "a", "brick", "[result]"]
    assert table["log.every_steps"].endswith("[speed]")


def test_a_changed_value_shows_its_default():
    config = load("mae", ["seed=3", "optim.b2=0.5", "log.every_steps=7"])
    table = rows(print_config(config))
    assert table["seed"].endswith("(default 0)")
    assert table["optim.b2"].endswith("(default 0.95)")
    assert table["log.every_steps"].endswith("[speed]  (default 10)")
    assert "default" not in table["optim.b1"]


@pytest.mark.parametrize(
    ("key", "mark"),
    [
        ("mesh.fsdp", "[speed]"),
        ("data.workers", "[speed]"),
        ("data.augment.flip", "[result]"),
        ("model.compute.remat", "[speed]"),
        ("model.compute.dtype", "[result]"),
        ("logits", "[result]"),
    ],
)
def test_marks(key, mark):
    assert mark_of(key) == mark


def test_the_flag_prints_and_leaves_without_a_work_directory(capsys):
    argv = ["--config=mae", "--config.mask.ratio=0.6", "--print-config"]
    with pytest.raises(SystemExit) as left:
        command_line(argv, description=None)
    assert left.value.code == 0
    assert "mask.ratio" in rows(capsys.readouterr().out)
