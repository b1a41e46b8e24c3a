"""A parser of compiled programs in XLA's text form, and the executions of each computation.

Only what a plan needs is parsed: shapes with their memory space, operands, loops and calls.
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
    held:  bytes in memory, the last two dimensions padded to whole tiles.
    space: memory space; 0 is HBM, others are on the chip.
    """

    size: int
    held: int
    space: int


class Instruction(NamedTuple):
    """A line of a computation.

    arrays: its results. inside: the text of its operands. rest: the text after them.
    root:   whether it is the result of its computation.
    """

    name: str
    op: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    inside: str
    rest: str
    root: bool

    def called(self, *roles: str) -> list[str]:
        """Return the names of computations called in these roles ('body', 'calls', ...)."""
        return [name for role, name in _CALLED.findall(self.rest) if role in roles]

    @property
    def branches(self) -> list[str]:
        """Return the names of the computations that a conditional chooses from."""
        match = _BRANCHES.search(self.rest)
        listed = re.findall(r"[\w.-]+", match.group(1)) if match else []
        return listed + self.called("true_computation", "false_computation")


class Program(NamedTuple):
    """A program; computations: {name: {instruction: Instruction}} in the order of the text."""

    computations: dict[str, dict[str, Instruction]]
    entry: str


class Executions(NamedTuple):
    """Executions of computations, except those of fusions, which are part of an instruction.

    times:   {computation: executions}.
    unknown: loops whose number of iterations the text does not state; they count once.
    """

    times: dict[str, int]
    unknown: int


def parse_program(text: str) -> Program:
    """Parse the text of `compiled.as_text()`; ValueError where it has no entry computation."""
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        head = _HEAD.match(line)
        if head:
            current = computations[head.group(2)] = {}
            entry = head.group(2) if head.group(1) else entry
        elif current is not None and _LINE.match(line):
            instruction = _parse_instruction(line)
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("no ENTRY computation: this is not the text of a compiled program")
    return Program(computations, entry)


def count_executions(program: Program) -> Executions:
    """Count how often each computation runs in one run of the program.

    The iterations of a loop are its "known_trip_count", or the constant that its condition compares
    a counter from 0 with. Every branch of a conditional counts once, which is more than runs.
    """
    times: dict[str, int] = defaultdict(int)
    unknown = 0

    def visit(name: str, count: int) -> None:
        nonlocal unknown
        times[name] += count
        for instruction in program.computations[name].values():
            if instruction.op == "while":
                trips = loop_iterations(program, instruction)
                unknown += trips is None
                visit(instruction.called("body")[0], count * (1 if trips is None else trips))
            elif instruction.op in ("call", "async-start"):
                visit(instruction.called("to_apply", "calls")[0], count)
            elif instruction.op == "conditional":
                for inner in instruction.branches:
                    visit(inner, count)

    visit(program.entry, 1)
    return Executions(dict(times), unknown)


def loop_iterations(program: Program, loop: Instruction) -> int | None:
    """Return the iterations of a while loop; None where the text does not state them."""
    known = _TRIPS.search(loop.rest)
    if known:
        return int(known.group(1))
    condition = program.computations[loop.called("condition")[0]]
    limits = [_loop_limit(program, condition, line) for line in condition.values()]
    constants = [limit for limit in limits if limit is not None]
    return constants[0] if len(constants) == 1 else None


def _loop_limit(
    program: Program, condition: dict[str, Instruction], line: Instruction
) -> int | None:
    """Return the constant of a comparison `counter < constant`; None for another line."""
    compared = line if "direction=LT" in line.rest else None
    if line.op == "fusion":
        inner = program.computations[line.called("calls")[0]].values()
        compared = next((each for each in inner if "direction=LT" in each.rest), None)
    if compared is None:
        return None
    constants = [condition[name] for name in line.operands if name in condition]
    values = [each.inside for each in constants if each.op == "constant"]
    return int(values[0]) if len(values) == 1 and values[0].isdigit() else None


def parse_arrays(text: str) -> tuple[Array, ...]:
    """Return the arrays of a shape's text, those of a tuple in order."""
    return tuple(_parse_array(*match) for match in _ARRAY.findall(text))


def _parse_array(element: str, dimensions: str, layout: str) -> Array:
    sizes = [int(size) for size in dimensions.split(",") if size]
    width = _bits(element) / 8
    space = _SPACE.search(layout)
    order = [int(axis) for axis in layout.partition(":")[0].split(",") if axis]
    tile = _TILE.search(layout)
    padded = list(sizes)
    if tile and len(order) == len(sizes):
        for axis, step in zip(order, reversed(tile.group(1).split(",")), strict=False):
            padded[axis] = -(-padded[axis] // int(step)) * int(step)
    size, held = (math.ceil(math.prod(shape) * width) for shape in (sizes, padded))
    return Array(size, held, int(space.group(1)) if space else 0)


def _bits(element: str) -> int:
    if element == "token":
        return 0
    match = re.search(r"\d+", element)
    return int(match.group()) if match else 8


def _parse_instruction(line: str) -> Instruction:
    line = re.sub(r"/\*.*?\*/", "", line)
    head = _LINE.match(line)
    shape, after = _split_shape(line[head.end() :])
    op = _OP.match(after)
    inside, rest = _split_parentheses(after[op.end() - 1 :])
    operands = tuple(re.findall(r"%([\w.-]+)", inside))
    rest = re.sub(r", metadata=\{[^}]*\}", "", rest)
    return Instruction(
        head.group(2), op.group(1), parse_arrays(shape), operands, inside, rest, bool(head.group(1))
    )


def _split_shape(text: str) -> tuple[str, str]:
    """Split the text of an instruction after its shape."""
    if text.startswith("("):
        inside, rest = _split_parentheses(text)
        return inside, rest
    shape, _, rest = text.partition(" ")
    return shape, rest


def _split_parentheses(text: str) -> tuple[str, str]:
    """Return the text inside the parentheses that it begins with, and the text after them."""
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:index], text[index + 1 :]
    raise ValueError(f"unbalanced parentheses in {text[:80]!r}")
