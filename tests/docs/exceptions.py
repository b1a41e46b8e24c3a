"""Commands of the pages that no test runs, or that cannot be checked, each with its reason.

A pattern is searched in `page: command`.
"""

# Not even checked.
NOT_CHECKED = {
    r"^CONTRIBUTING.md: (git|cd|python3\.11|source|pre-commit)": "sets a machine up",
    r": md5sum": "a tool of the system, for files that are not here",
    r": export PYTHONPATH=": "a builtin of the shell",
}

# Not checked, but run, on pages whose commands run.
NEEDS_A_RUN = {
    r"(finetune|segment):begin=": "reads the config of a run",
}

# Checked, but not run, on pages whose other commands run.
NOT_RUN = {
    r": pip ": "installs packages; their names and extras are checked",
    r": python -m pytest": "runs these tests",
    r": python -m benchmarks\.": "minutes of measuring; the tests of benchmarks run small ones",
    r"--topology": "needs the compiler for TPUs, and minutes; tests/planning runs small ones",
    r"maskmim\.plan --config (mae|colormae|pixio)\b": "published sizes, minutes",
    r"--source imagenet:": "needs ImageNet's files; tests/data makes small ones",
    r"--verify /data/imagenet": "the same",
    r"--config\.begin\.file=vit-mae-base": "needs released weights; tests/interop makes small ones",
    r"maskmim\.gallery --list": "read-only, run by tests/mask_tools",
    r"--config\.mesh\.": "needs several devices; tests/training/test_meshes.py has them",
    r"data_dir=/data/tfds": "needs a prepared data set; tests/data makes a small one",
    r"maskmim\.embed .*--window": "needs videos; tests/inference makes small ones",
    r"trackers\.(wandb|trackio|mlflow)\.": "needs an extra; test_trackers.py has fakes",
    r"(videomae|audio_mae|remasker):path=": "needs such files; tests make small ones",
}
