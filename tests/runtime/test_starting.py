"""The first seconds of a command: the list of commands, and errors while libraries load."""

import subprocess
import sys

import pytest

from maskmim import errors
from maskmim.__main__ import main, summaries
from maskmim.runtime import starting
from tests.running import ROOT, environment


def test_the_list_has_every_command_with_a_line(capsys):
    commands = summaries()
    for name in ("train", "evaluate", "plan", "gallery", "convert"):
        assert commands[name].endswith(".")
    assert "train_loop" not in commands and next(iter(commands)) == "train"
    assert main([]) == main(["--help"]) == errors.DONE
    said = capsys.readouterr().out
    assert all(f"python -m maskmim.{name} " in said for name in commands)


def test_a_command_after_the_package_s_name_is_told_how_to_run_it(capsys):
    assert main(["train", "--workdir", "a b"]) == errors.USAGE
    assert "run it as: python -m maskmim.train --workdir 'a b'" in capsys.readouterr().err
    assert main(["trane"]) == errors.USAGE
    assert "no command 'trane'; there are train, evaluate" in capsys.readouterr().err


def test_the_list_imports_no_jax():
    code = "import runpy, sys; sys.argv = ['-m']; runpy.run_module('maskmim', run_name='x')"
    check = f"{code}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_memory_is_kept_before_a_thread_allocates(monkeypatch):
    acts = []
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "maskmim.train"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(starting, "keep_freed_memory", lambda: acts.append("memory"))
    monkeypatch.setattr(starting.output, "protect_streams", lambda: acts.append("streams"))
    monkeypatch.setattr(starting.activity, "start", lambda title: acts.append("thread"))
    starting.start_command()
    assert acts[0] == "memory" and "thread" in acts


def test_commands_load_no_library_that_few_need():
    """torch comes with tensorboardX, which imports it where it is installed."""
    imports = "; ".join(f"import maskmim.{name}" for name in summaries())
    heavy = ["torch", "tensorboardX", "scipy.signal", "scipy.stats", "transformers", "tensorflow"]
    check = f"import sys; {imports}; print(*(set({heavy}) & set(sys.modules)))"
    command = [sys.executable, "-c", check]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_variable_that_jax_does_not_understand_is_a_sentence():
    done = subprocess.run(
        [sys.executable, "-m", "maskmim.train", "--help"],
        cwd=ROOT,
        env=environment(JAX_ENABLE_X64="perhaps"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == errors.USAGE
    assert "JAX_ENABLE_X64" in done.stderr and "Traceback" not in done.stderr


def test_ctrl_c_while_libraries_load_is_a_word(capsys):
    with pytest.raises(SystemExit) as left:
        starting.explain(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert left.value.code == errors.INTERRUPTED
    assert capsys.readouterr().err == "maskmim: interrupted\n"


def test_other_errors_keep_their_traceback(capsys):
    starting.explain(ValueError, ValueError("a bug"), None)
    assert "ValueError: a bug" in capsys.readouterr().err


def test_programs_of_others_are_left_alone(monkeypatch):
    before = sys.stdout, sys.excepthook
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pytest"])
    starting.start_command()
    assert before == (sys.stdout, sys.excepthook)
