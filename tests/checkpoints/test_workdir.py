"""Which settings may change when a run continues, and configs of earlier versions."""

import json

import pytest

from maskmim.checkpoints import workdir as module
from maskmim.checkpoints.workdir import (
    RULES,
    check_changes,
    check_config,
    continuation_table,
    find_rule,
    load_config,
    save_config,
    set_earlier_run_aside,
    weights_places,
)
from maskmim.config.defaults import base
from maskmim.config.load import add, load, override
from maskmim.config.parse import ConfigError
from maskmim.config.serialize import to_json

# A change of a key under each rule; the last ones are under no rule.
FREE = (
    "train.epochs=9",
    "train.epochs=0.1",
    "train.micro_batches=2",
    "train.max_bad_steps=9",
    "mesh.fsdp=2",
    "mesh.data=1",
    "checkpoint.keep_latest=5",
    "checkpoint.every_epochs=0.5",
    "log.every_steps=7",
    "process.stuck_after_seconds=60",
    "evals.batch_size=8",
    "evals.probes.knn.k=5",
    "data.workers=2",
    "data.threads=2",
    "data.max_bad_share=0.5",
    "input.kind.brick=maskmim.modalities.unseen",
)
OF_STREAMS = ("input.streams.depth.kind.brick=maskmim.modalities.unseen",)
FIXED = (
    "train.batch_size=32",
    "data.train.split=test",
    "data.augment.brick=maskmim.data.transforms.resize_center_crop",
    "begin.workdir=runs/a",
    "seed=1",
    "input.size=64,64",
    "model.decoder_depth=2",
    "optim.lr=1",
    "optim.lr_per=512",
    "schedule.warmup_epochs=1",
    "mask.ratio=0.5",
    "objectives.pixels.loss.brick=maskmim.losses.absolute_error",
    "method=maskmim.methods.ratio_buckets.masked_in_buckets",
)
# A brick in place of None, which takes two flags.
AVERAGE = "ema.brick=maskmim.teachers.momentum.constant", "ema.value=0.9"

# Where data and weights of others lie: what is read there decides, see test_continuation.py.
PLACES = (
    "data.train.path=/b",
    "data.train.data_dir=/b",
    "data.train.of.path=/b",
    "teachers.eyes.network.path=/b",
    "tokenizer.workdir=/b",
)


@pytest.mark.parametrize("change", PLACES)
def test_places_may_change(change):
    rule = find_rule(change.partition("=")[0])
    assert rule.free and ("wherever" in rule.why or rule.why == "as of teachers")
    assert not find_rule("data.train.pattern").free and not find_rule("data.decode.path").free
    assert not find_rule("teachers.eyes.network.layer").free and not find_rule("model.path").free


@pytest.fixture(scope="module")
def config():
    return load("configs/colormae.py:tiny")


@pytest.mark.parametrize("change", FREE)
def test_what_changes_no_result_may_change_and_is_said(config, change, tmp_path):
    save_config(tmp_path, config)
    (line,) = check_config(tmp_path, override(config, [change]))
    key = change.partition("=")[0]
    assert line.startswith(f"{key}: ") and line.endswith(f"({find_rule(key).why})")


@pytest.mark.parametrize("change", OF_STREAMS)
def test_the_kind_of_a_stream_may_change(config, change, tmp_path):
    streams = override(config, ["input.streams.depth.channels=3"])
    save_config(tmp_path, streams)
    (line,) = check_config(tmp_path, override(streams, [change]))
    assert line.startswith("input.streams.depth.kind.brick: ")


@pytest.mark.parametrize("change", FIXED)
def test_what_changes_results_may_not(config, change, tmp_path):
    save_config(tmp_path, config)
    key = change.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"(?s){key}: .* -> .*another --workdir") as error:
        check_config(tmp_path, override(config, [change]))
    assert find_rule(key).why in str(error.value)
    assert load_config(tmp_path) == config


def test_what_a_run_is_compared_with_may_change(config, tmp_path):
    save_config(tmp_path, config)
    compared = config.copy_and_resolve_references()
    add(compared, compare={"other": ("seed=1",)})
    (line,) = check_config(tmp_path, compared.lock())
    assert line.startswith("compare.other: ") and "further runs" in line


def test_an_average_of_the_weights_begins_with_the_run(config, tmp_path):
    averaged = override(config, AVERAGE)
    for stored, asked in ((config, averaged), (averaged, config)):
        save_config(tmp_path, stored)
        with pytest.raises(ConfigError, match=r"ema.*the average begins with the run"):
            check_config(tmp_path, asked)


def test_every_rule_was_tried_and_is_in_the_table():
    changes = (*FREE, *OF_STREAMS, *FIXED, *PLACES, *AVERAGE, "compare.other=seed=1")
    tried = {find_rule(change.partition("=")[0]) for change in changes}
    assert tried == {*RULES, module.REST}
    assert {find_rule(change.partition("=")[0]).free for change in FREE} == {True}
    assert len(continuation_table().splitlines()) == 2 + len(RULES) + 1


def test_a_free_name_frees_no_longer_one(config):
    other = override(config, [])
    with other.unlocked():
        other.logits = 1
    with pytest.raises(ConfigError, match="logits"):
        check_changes(config, other, "runs/it")


def test_a_config_of_a_version_with_fewer_keys_continues(config, tmp_path):
    save_config(tmp_path, config)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    del stored["train"]["max_bad_steps"], stored["process"]
    path.write_text(json.dumps(stored))
    upgraded = load_config(tmp_path)
    assert upgraded.train.max_bad_steps == base().train.max_bad_steps
    assert upgraded == config and upgraded.is_locked
    assert not check_config(tmp_path, config)


def test_a_missing_section_of_another_kind_is_a_difference(config, tmp_path):
    save_config(tmp_path, config)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    del stored["mask"]["ratio"]
    path.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"mask\.ratio: \(absent\) -> 0\.75"):
        check_config(tmp_path, config)


def test_places_of_weights_are_named(config):
    assert not weights_places(config)
    other = override(config, [])
    with other.unlocked():
        other.teachers.eyes = {"network": {"path": "/a", "layer": 2}}
    assert weights_places(other) == ["teachers.eyes.network.path"]


def test_a_lost_or_damaged_config_is_that_of_the_newest_checkpoint(config, tmp_path, caplog):
    with pytest.raises(ConfigError, match="holds no run"):
        load_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json is damaged"):
        load_config(tmp_path)
    item = tmp_path / "checkpoints" / "7" / "config"
    item.mkdir(parents=True)
    (item / "metadata").write_text(to_json(config))
    assert load_config(tmp_path) == config and "damaged" in caplog.text
    (tmp_path / "config.json").unlink()
    assert load_config(tmp_path) == config and "is lost: read from" in caplog.text


def test_the_config_of_another_program_is_none(config, tmp_path, caplog):
    (tmp_path / "config.json").write_text('{"model_type": "vit_mae", "hidden_size": 16}')
    with pytest.raises(ConfigError) as error:
        load_config(tmp_path)
    assert f"{tmp_path} is no run of maskmim" in str(error.value)
    assert f"use --config.begin.file={tmp_path}" in str(error.value)
    item = tmp_path / "checkpoints" / "7" / "config"
    item.mkdir(parents=True)
    (item / "metadata").write_text(to_json(config))
    assert load_config(tmp_path) == config and "is of another program: read from" in caplog.text


def test_the_files_of_a_run_that_is_begun_anew_are_kept(tmp_path):
    names = ["config.json", "metrics.jsonl", "bad_files.txt", "bad_steps-1.jsonl", "results-a.json"]
    for name in names:
        (tmp_path / name).write_text(name)
    for name in ("events", "images", "checkpoints", "programs"):
        (tmp_path / name).mkdir()
    (tmp_path / "goodput.jsonl").write_text("added up over all starts")
    aside = set_earlier_run_aside(tmp_path)
    assert sorted(aside) == [
        "bad_files.1.txt",
        "bad_steps-1.1.jsonl",
        "config.1.json",
        "events.1",
        "images.1",
        "metrics.1.jsonl",
        "results-a.1.json",
    ]
    assert (tmp_path / "bad_steps-1.1.jsonl").read_text() == "bad_steps-1.jsonl"
    left = {path.name for path in tmp_path.iterdir()} - set(aside)
    assert left == {"checkpoints", "programs", "goodput.jsonl"}
    (tmp_path / "metrics.jsonl").write_text("")  # a start that logged no step
    (tmp_path / "events").mkdir()
    assert not set_earlier_run_aside(tmp_path)
    (tmp_path / "metrics.jsonl").write_text("{}")
    assert sorted(set_earlier_run_aside(tmp_path)) == ["events.2", "metrics.2.jsonl"]
