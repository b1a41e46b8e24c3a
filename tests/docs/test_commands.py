"""Every command in README and docs is one that exists: its own parser takes it, and its config
loads. Nothing runs; test_commands_run.py runs those of the main pages."""

import importlib
import importlib.util
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from maskmim.config.command_line import Parser
from maskmim.errors import UserError
from tests.config.test_documented_flags import SAVED
from tests.docs.exceptions import NEEDS_A_RUN, NOT_CHECKED, NOT_RUN
from tests.docs.fences import PAGES, Command, commands, fences, name_of
from tests.running import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
# Commands of recipes are those of the configs' docstrings, which test_documented_flags.py checks.
READ = [page for page in PAGES if page.parent.name != "recipes"]
COMMANDS = [command for page in READ for command in commands(page)]
LEFT_OUT = "is missing; --help shows the use"
DISTINCT = list({(c.text, tuple(c.environment)): c for c in COMMANDS}.values())


class Parsed(Exception):
    """A command line was parsed; the command goes no further."""


@pytest.fixture
def only_parsing(monkeypatch):
    """Commands end where their command line is parsed."""

    def ended(function):
        def call(*arguments, **keywords):
            function(*arguments, **keywords)
            raise Parsed

        return call

    monkeypatch.setattr(Parser, "parse_args", ended(Parser.parse_args))
    monkeypatch.chdir(ROOT)

    def run(name, words):
        if importlib.util.find_spec(name) is None:
            return f"there is no {name}"
        module = importlib.import_module(name)
        if hasattr(module, "command_line"):
            from maskmim.config.command_line import command_line

            monkeypatch.setattr(module, "command_line", ended(command_line))
        try:
            module.main(list(words))
        except Parsed:
            return ""
        except SystemExit as left:  # --help, --print-config
            return "" if left.code in (0, None) else f"exit code {left.code}"
        except UserError as error:
            return str(error)
        return "" if "--help" in words else "the command does not use the common parser"

    return run


def problem(command: Command, run) -> str:
    """Why a command is wrong, '' where it is not."""
    program, *words = command.words
    if program == "pip":
        return pip_problem(words)
    if program != "python":
        return "" if (ROOT / program).is_file() else f"there is no {program}: see exceptions.py"
    if words[0] != "-m":
        return script_problem(words[0], words[1:])
    if words[1].startswith("maskmim."):
        found = run(words[1], words[2:])
        return "" if command.in_prose and found.endswith(LEFT_OUT) else found
    if words[1] == "pytest":
        named = [word.partition("::")[0] for word in words[2:] if word.startswith("tests/")]
        return "".join(f"there is no {name}" for name in named if not (ROOT / name).exists())
    return script_problem(words[1].replace(".", "/") + ".py", words[2:])


def pip_problem(words: list[str]) -> str:
    for word, before in zip(words[1:], ["", *words[1:]], strict=False):
        if before == "-r":
            if not (ROOT / word).is_file():
                return f"there is no {word}"
        elif not word.startswith(("-", ".", "git+")):
            requirement = Requirement(word)
            if requirement.name == "maskmim" and not requirement.extras <= EXTRAS:
                return f"no such extra: {requirement.extras - EXTRAS}"
    return ""


def script_problem(file: str, words: list[str]) -> str:
    """Whether a script exists whose source names the flags."""
    if not (ROOT / file).is_file():
        return f"there is no {file}"
    text = (ROOT / file).read_text(encoding="utf-8")
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    return ", ".join(f"{file} has no {flag}" for flag in flags if f'"{flag}"' not in text)


def label(command: Command) -> str:
    return f"{command.page}: {command.text}"


def test_every_command_can_be_given(only_parsing, monkeypatch, tmp_path, capsys):
    for page in PAGES:  # modules that the reader is told to save
        for name, code in SAVED.findall(page.read_text(encoding="utf-8")):
            (tmp_path / name).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "docs/examples")
    wrong = []
    for command in DISTINCT:
        if any(re.search(pattern, label(command)) for pattern in [*NOT_CHECKED, *NEEDS_A_RUN]):
            continue
        if found := problem(command, only_parsing):
            wrong.append(f"{command.page}:{command.line}: {command.text}\n  {found}")
    capsys.readouterr()
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_what_is_wrong(only_parsing, capsys):
    def of(text):
        return problem(Command("a page", 1, {}, tuple(text.split())), only_parsing)

    assert "did you mean --workdir" in of("python -m maskmim.train --config mae --workdr runs/a")
    assert "did you mean 'mask.ratio'" in of(
        "python -m maskmim.plan --config mae --config.mask.rtio=1"
    )
    assert "no such extra" in of("pip install maskmim[no_such]")
    assert "there is no" in of("pip install -r no-such-file.txt")
    assert "has no --no-such" in of("python -m benchmarks.masks --no-such")
    assert of("python -m maskmim.plan --config mae:tiny") == ""
    assert of("python -m maskmim.gallery --list") == ""


def test_exceptions_are_of_commands_that_stand_there():
    labels = [label(command) for command in COMMANDS]
    patterns = [*NOT_CHECKED, *NEEDS_A_RUN, *NOT_RUN]
    assert [p for p in patterns if not any(re.search(p, text) for text in labels)] == []


def test_pages_have_commands_and_their_fences_are_closed():
    assert len(DISTINCT) > 60
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("\n```") + text.startswith("```") == 2 * len(fences(page)), name_of(page)


def test_fences_of_a_file_have_their_lines(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("One\n\n```\npip install .\n```\n\n```python\nx = 1\n```\n")
    assert fences(page) == [(4, "", "pip install .\n"), (8, "python", "x = 1\n")]
