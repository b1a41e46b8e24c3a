"""What the exit codes of maskmim/errors.py ask of every launcher, read from their table."""

import subprocess

from maskmim import errors
from tests.running import ROOT


def answers() -> dict[int, str]:
    """Return {exit code: first word of the column 'start again?'}: no, yes or perhaps."""
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in errors.exit_code_table().splitlines()
    )
    code, again = head.index("code"), head.index("start again?")
    return {int(row[code]): row[again].partition(",")[0] for row in rows}


def named() -> dict[int, str]:
    """Return {exit code: its name in maskmim.errors}, from the table."""
    rows = [line.strip("|").split("|") for line in errors.exit_code_table().splitlines()[2:]]
    return {int(row[0]): row[1].strip() for row in rows}


def saying(*words: str) -> set[int]:
    """Return the codes for which the table says one of these words."""
    return {code for code, word in answers().items() if word in words}


def shell_again(codes: range | set[int]) -> set[int]:
    """Return the codes after which launch/exit_codes.sh starts again."""
    listed = " ".join(map(str, codes))
    script = f"source launch/exit_codes.sh; for c in {listed}; do again $c && echo $c; done; true"
    result = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(map(int, result.stdout.split()))
