"""The time that a training counts as its own."""

import sys

import pytest

from maskmim import train
from maskmim.config.parse import ConfigError
from maskmim.runtime.timeline import Timeline


def test_a_call_from_python_is_not_the_life_of_its_process(monkeypatch):
    ages = []

    def timeline(*, before):
        ages.append(before)
        return Timeline(before=before)

    monkeypatch.setattr(train, "Timeline", timeline)
    monkeypatch.setattr(sys, "argv", ["train", "--config=nothing"])
    for argv in (["--config=nothing"], None):
        with pytest.raises(ConfigError):
            train.main(argv)
    assert ages[0] == 0 < ages[1]
