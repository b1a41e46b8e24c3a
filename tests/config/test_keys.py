"""Keys found by what users call them, in the default config and in that of the quickstart."""

import pytest

from maskmim.config.command_line import command_line
from maskmim.config.keys import find_keys, keys_ending
from maskmim.config.load import load
from maskmim.config.parse import ConfigError


@pytest.fixture(scope="module")
def quickstart():
    return load("quickstart")


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("lr", "optim.lr"),
        ("learning-rate", "optim.lr"),
        ("blr", "optim.lr"),
        ("batch_size", "train.batch_size"),
        ("batch-size", "train.batch_size"),
        ("epochs", "train.epochs"),
        ("warmup_epochs", "schedule.warmup_epochs"),
        ("mask_ratio", "mask.ratio"),
        ("num_workers", "data.workers"),
        ("seed", "seed"),
        ("img_size", "input.size"),
        ("model", "model.brick"),
    ],
)
def test_a_word_finds_the_key_that_is_meant(quickstart, word, key):
    assert keys_ending(quickstart, word)[0] == key


def test_keys_that_are_equally_likely_are_all_named(quickstart):
    assert keys_ending(quickstart, "dtype") == ["input.dtype", "model.compute.dtype"]


def test_a_misspelt_word_finds_the_nearest(quickstart):
    assert keys_ending(quickstart, "epoch") == []
    assert find_keys(quickstart, "epoch") == ["train.epochs"]
    assert find_keys(quickstart, "maks.ratio") == ["mask.ratio"]
    assert find_keys(quickstart, "zzzz") == []


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("evals.measures.corruptions.severities", []),
        ("evals.measures.corruptions.name", ["evals.measures.corruptions.names"]),
        ("evals.measures.layers.depth", []),
        ("evals.probes.knn.neighbours", []),
        ("log.steps", ["log.every_steps"]),
        ("model.heads", ["model.heads.pixels"]),
        ("train.learning_rat", []),
    ],
)
def test_only_what_is_near_inside_its_section_is_guessed(quickstart, word, keys):
    assert find_keys(quickstart, word) == keys


def said(*argv, **keywords):
    with pytest.raises(ConfigError) as error:
        command_line(list(argv), description=None, workdir=False, **keywords)
    return str(error.value)


@pytest.mark.parametrize("config", [["--config=quickstart"], []])
@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lr=1e-3"], "'--lr'; did you mean '--config.optim.lr=1e-3'?"),
        (["--lr", "1e-3"], "'--lr'; did you mean '--config.optim.lr=1e-3'?"),
        (["--batch_size", "32"], "did you mean '--config.train.batch_size=32'?"),
        (["--batch-size=32"], "did you mean '--config.train.batch_size=32'?"),
        (["--epochs=3"], "did you mean '--config.train.epochs=3'?"),
        (["-lr", "3"], "did you mean '--config.optim.lr=3'?"),
        (["lr=3"], "did you mean '--config.optim.lr=3'?"),
        (["--output_dir=x"], "unknown flag '--output_dir'; there are"),
    ],
)
def test_flags_of_other_codebases_name_the_key(config, argv, words):
    assert words in said(*config, *argv)


def test_a_command_that_changes_some_sections_names_only_their_keys():
    text = said("--batch_size=3", config=False, overrides=("evals",))
    assert "'--config.evals.batch_size=3'" in text and "train." not in text


def test_an_unknown_key_lists_those_of_its_section():
    text = said("--config=quickstart", "--config.train.foo=1")
    assert "train has batch_size, epochs, max_bad_steps, micro_batches" in text
    text = said("--config=quickstart", "--config.optim.lrr=1")
    assert "did you mean 'optim.lr'? optim has b1" in text
    text = said("--config=quickstart", "--config.zz.q=1")
    assert "its sections are begin, calls, checkpoint" in text
    text = said("--config=quickstart", "--config.objectives.pixel.scale=2")
    assert "did you mean 'objectives.pixels.scale'? objectives has pixels" in text
    text = said("--config=quickstart", "--config.calls.classify.classes=10")
    assert "; calls has no entries; --config.calls.classify.brick=PATH adds classify" in text
    text = said("--config=quickstart", "--config.ema.value=0.9")
    assert text.endswith("'ema.value': ema is None, --config.ema.brick=PATH sets a brick")


@pytest.mark.parametrize(
    ("config", "override", "key", "value"),
    [
        ("mae", "input.size=64", "input.size", (64, 64)),
        ("mae", "model.patch=8", "model.patch", (8, 8)),
        ("mae", "model.variant=S/8", "model.patch", (8, 8)),
        ("mae", "model.variant=S/8", "model.variant", "S"),
        ("mae", "model.variant=S", "model.patch", (16, 16)),
        ("videomae", "model.variant=S/8", "model.patch", (2, 8, 8)),
    ],
)
def test_short_forms_of_sizes(config, override, key, value):
    found = load(config, [override])
    for step in key.split("."):
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("config", "override", "words"),
    [
        ("videomae", "input.size=96", "input.size: expected 3 numbers such as 16,224,224, got 96"),
        ("mae", "model.variant=S/x", "expected a variant such as S or S/16, got 'S/x'"),
        ("maskgit", "model.variant=S/16", "expected a variant such as S, got 'S/16'"),
    ],
)
def test_short_forms_that_mean_nothing(config, override, words):
    with pytest.raises(ConfigError, match=words):
        load(config, [override])
