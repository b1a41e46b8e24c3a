"""Compiled programs as XLA prints them: their instructions, and how often each is executed.

Only what a plan asks for is read: shapes with their memory, operands, loops and calls.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import NamedTuple

# f32[8,128]{1,0:T(8,128)S(1)}: element type, dimensions, layout
_ARRAY = re.compile(r"\b(pred|token|[a-z]+\d+[a-z0-9]*)\[([\d,]*)\](?:\{([^}]*)\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = ")
_OP = re.compile(r"\s*([a-z][a-z0-9-]*)\(")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SPACE = re.compile(r"S\((\d+)\)")
_TILE = re.compile(r"T\(([\d,]+)\)")


class Array(NamedTuple):
    """An array of a program.

    size:  bytes of its values.
    held:  bytes that it takes, its two last dimensions filled up to whole tiles.
    space: memory it lies in; 0 is the large one (HBM), others are on the chip.
    """

    size: int
    held: int
    space: int


class Instruction(NamedTuple):
    """A line of a computation; rest: everything after its operands."""

    name: str
    op: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    inside: str
    rest: str
    root: bool

    def called(self, *roles: str) -> list[str]:
        """Names of the computations that it calls in these roles ('body', 'calls', ...)."""
        return [name for role, name in _CALLED.findall(self.rest) if role in roles]

    @property
    def branches(self) -> list[str]:
        """Names of the computations that a conditional chooses from."""
        found = _BRANCHES.search(self.rest)
        listed = re.findall(r"[\w.-]+", found.group(1)) if found else []
        return listed + self.called("true_computation", "false_computation")


class Program(NamedTuple):
    """computations: {name: {instruction: Instruction}} in the order of the text."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


class Executed(NamedTuple):
    """How often computations run; those of fusions are run as part of an instruction.

    times:   {computation: executions}.
    unknown: loops whose number of iterations the text does not tell; they count once.
    """

    times: dict[str, int]
    unknown: int


def parse(text: str) -> Program:
    """The program of `compiled.as_text()`; ValueError where no entry computation is found."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations[head.group(2)] = {}
            entry = head.group(2) if head.group(1) else entry
        elif current is not None and _LINE.match(line):
            instruction = _instruction(line)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("no ENTRY computation: this is no text of a compiled program")
    return Program(computations, entry)


def executed(program: Program) -> Executed:
    """How often each computation runs in one run of the program.

    Bodies of loops run as often as the loop says ("known_trip_count", or a condition that compares
    a counter, from 0, with a constant). Of a conditional every branch counts once: more than runs.
    """
    times: dict[str, int] = defaultdict(int)
    unknown = 0

    def visit(name: str, count: int) -> None:
        nonlocal unknown
        times[name] += count
        for instruction in program.computations[name].values():
            if instruction.op == "while":
                trips = iterations(program, instruction)
                unknown += trips is None
                visit(instruction.called("body")[0], count * (1 if trips is None else trips))
            elif instruction.op in ("call", "async-start"):
                visit(instruction.called("to_apply", "calls")[0], count)
            elif instruction.op == "conditional":
                for inner in instruction.branches:
                    visit(inner, count)

    visit(program.entry, 1)
    return Executed(dict(times), unknown)


def iterations(program: Program, loop: Instruction) -> int | None:
    """Iterations of a while loop; None where the text does not tell."""
    known = _TRIPS.search(loop.rest)
    if known:
        return int(known.group(1))
    condition = program.computations[loop.called("condition")[0]]
    limits = [_limit(program, condition, line) for line in condition.values()]
    found = [limit for limit in limits if limit is not None]
    return found[0] if len(found) == 1 else None


def _limit(program: Program, condition: dict[str, Instruction], line: Instruction) -> int | None:
    """The constant that a comparison `counter < constant` of a condition compares with."""
    compared = line if "direction=LT" in line.rest else None
    if line.op == "fusion":
        inner = program.computations[line.called("calls")[0]].values()
        compared = next((each for each in inner if "direction=LT" in each.rest), None)
    if compared is None:
        return None
    constants = [condition[name] for name in line.operands if name in condition]
    values = [each.inside for each in constants if each.op == "constant"]
    return int(values[0]) if len(values) == 1 and values[0].isdigit() else None


def arrays(text: str) -> tuple[Array, ...]:
    """The arrays of a shape's text, of a tuple in its order."""
    return tuple(_array(*found) for found in _ARRAY.findall(text))


def _array(element: str, dimensions: str, layout: str) -> Array:
    sizes = [int(size) for size in dimensions.split(",") if size]
    width = _bits(element) / 8
    space = _SPACE.search(layout)
    order = [int(axis) for axis in layout.partition(":")[0].split(",") if axis]
    tile = _TILE.search(layout)
    filled = list(sizes)
    if tile and len(order) == len(sizes):
        for axis, step in zip(order, reversed(tile.group(1).split(",")), strict=False):
            filled[axis] = -(-filled[axis] // int(step)) * int(step)
    size, held = (math.ceil(math.prod(each) * width) for each in (sizes, filled))
    return Array(size, held, int(space.group(1)) if space else 0)


def _bits(element: str) -> int:
    if element == "token":
        return 0
    found = re.search(r"\d+", element)
    return int(found.group()) if found else 8


def _instruction(line: str) -> Instruction:
    line = re.sub(r"/\*.*?\*/", "", line)
    head = _LINE.match(line)
    shape, after = _shape(line[head.end() :])
    op = _OP.match(after)
    inside, rest = _parentheses(after[op.end() - 1 :])
    operands = tuple(re.findall(r"%([\w.-]+)", inside))
    rest = re.sub(r", metadata=\{[^}]*\}", "", rest)
    return Instruction(
        head.group(2), op.group(1), arrays(shape), operands, inside, rest, bool(head.group(1))
    )


def _shape(text: str) -> tuple[str, str]:
    """The shape that an instruction begins with, and the text after it."""
    if text.startswith("("):
        inside, rest = _parentheses(text)
        return inside, rest
    shape, _, rest = text.partition(" ")
    return shape, rest


def _parentheses(text: str) -> tuple[str, str]:
    """(what is between the first parenthesis and its partner, what follows)."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:place], text[place + 1 :]
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")
