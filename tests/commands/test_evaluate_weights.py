"""Flags of `evaluate --weights`; tests/inference/test_weights_evaluation.py has the features."""

import json

import pytest

from maskmim.config import ConfigError
from maskmim.errors import UserError
from maskmim.evaluate import main
from maskmim.inference.loaded import InferenceError
from tests.interop.transformers_mae import Case, peer
from tests.running import as_tests, run


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "--workdir DIR for a run, or --weights PATH"),
        (["--workdir=a", "--weights=b"], "--workdir DIR for a run, or --weights PATH"),
        (["--weights=b"], "needs --out"),
        (["--workdir=a", "--size=96"], "--size goes with --weights"),
        (["--workdir=a", "--decoder-heads=3"], "--decoder-heads goes with --weights"),
        (["--weights=b", "--out=c"], "no weights at 'b': give a safetensors file"),
        (["--weights=b", "--out=c", "--heads=few"], "--heads=few: expected a whole number"),
        (["--weights=b", "--out=c", "--mean=0.5,x"], "--mean=0.5,x: expected a number"),
        (["--weights=b", "--out=c", "--config.mask.ratio=0.5"], "data, evals and mesh only"),
    ],
)
def test_flags_that_do_not_fit(flags, told):
    with pytest.raises(UserError, match=told):
        main(flags)


def test_a_run_is_no_file(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="is a run of maskmim: use --workdir"):
        main([f"--weights={tmp_path}", "--out=c"])


@pytest.mark.full
def test_the_command_on_a_folder_of_transformers(tmp_path):
    folder, out = tmp_path / "mae", tmp_path / "out"
    peer(Case("mae")).save_pretrained(folder)
    flags = [f"--weights={folder}", "--config=mae:tiny", f"--out={out}", "--config.evals.monitors="]
    flags += [f"--config.evals.{split}.split=val" for split in ("train", "test")]
    flags += ["--evals=knn,reconstruction"]
    done = run("evaluate", *flags, "--layout=hf", **as_tests())
    assert done.returncode == 0, done.stderr
    assert f"{folder} (hf), inputs of 32x32" in done.stdout and "random init" in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert results["weights"]["layout"] == "hf"
    assert "reconstruction/mse" in results["reconstruction"]
    assert "knn/fine/top1" in results["probes"]["encoders"]["this encoder"]["metrics"]
    with pytest.raises(InferenceError, match="is in the layout hf"):
        main([*flags, "--layout=timm"])
