"""What chips send each other in a step, read from the compiled program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from maskmim.planning import hlo

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_MESH = re.compile(
    r"mesh\[(?P<axes>(?:'\w+'=\d+,?)+)\]"
    r"(?:, device_ids=\((?:\[(?P<laid>[\d,]+)\](?:T\((?P<order>[\d,]+)\))?|(?P<listed>[\d,]+))\))?"
    r" ?\{(?P<moving>(?:'\w+',? ?)+)\}"
)


class Collective(NamedTuple):
    """A collective operation of a program.

    payload: bytes of the whole array on a chip: what is reduced, what has been gathered, what is
             handed on.
    group:   chips that take part, as places in the mesh's list of devices; all groups are alike.
    times:   how often it runs in one run of the program.
    """

    kind: str
    payload: int
    group: tuple[int, ...]
    times: int

    @property
    def sent(self) -> float:
        """Bytes that each chip sends at least, each time.

        In a ring of n chips each sends (n - 1) / n of the array to gather or to scatter it, and an
        all-reduce is a reduce-scatter with an all-gather (Patarasuk and Yuan, 2009).
        """
        others = (len(self.group) - 1) / len(self.group)
        return self.payload * {"all-reduce": 2 * others, "collective-permute": 1}.get(
            self.kind, others
        )


class Sum(NamedTuple):
    """Collectives of one kind in a step: how many run, their payloads, bytes that a chip sends."""

    count: int
    payload: int
    sent: float


def find(program: hlo.Program, executed: hlo.Executed, chips: int) -> list[Collective]:
    """The collectives of a program for so many chips, with how often each runs.

    A collective that runs beside computation is found once, at its start. Those of a single chip
    are left out.
    """
    found = []
    for name, times in executed.times.items():
        for line in program.computations[name].values():
            found += _of_line(program, name, line, chips, times)
    return [each for each in found if len(each.group) > 1]


def summed(collectives: Iterable[Collective]) -> dict[str, Sum]:
    """Sums by kind, in the order of KINDS, without kinds that do not occur."""
    sums: dict[str, Sum] = {}
    for each in sorted(collectives, key=lambda each: KINDS.index(each.kind)):
        count, payload, sent = sums.get(each.kind, Sum(0, 0, 0.0))
        sums[each.kind] = Sum(
            count + each.times,
            payload + each.times * each.payload,
            sent + each.times * each.sent,
        )
    return sums


def _of_line(
    program: hlo.Program, computation: str, line: hlo.Instruction, chips: int, times: int
) -> list[Collective]:
    kind = line.op.removesuffix("-start")
    if kind in KINDS:
        return [_collective(program.computations[computation], line, kind, chips, times)]
    if line.op != "fusion":
        return []
    inner = program.computations[line.called("calls")[0]]
    return [
        _collective(inner, each, _fused_kind(inner, each), chips, times)
        for each in inner.values()
        if each.op in KINDS and _begins(inner, each)
    ]


def _begins(fused: dict[str, hlo.Instruction], line: hlo.Instruction) -> bool:
    """Whether a collective within a fusion is its own, or begins there and ends in another one.

    A TPU program spreads a collective over several fusions that compute meanwhile; each of them
    repeats its line, and the first one has the call AsyncCollectiveStart.
    """
    spread = "chain_id" in line.rest
    return not spread or any('"AsyncCollectiveStart"' in each.rest for each in fused.values())


def _fused_kind(fused: dict[str, hlo.Instruction], line: hlo.Instruction) -> str:
    """An all-reduce of which a fusion keeps one slice is a reduce-scatter."""
    kept = [each for each in fused.values() if line.name in each.operands]
    sliced = line.op == "all-reduce" and [each.op for each in kept] == ["dynamic-slice"]
    return "reduce-scatter" if sliced else line.op


def _collective(
    computation: dict[str, hlo.Instruction],
    line: hlo.Instruction,
    kind: str,
    chips: int,
    times: int,
) -> Collective:
    given = [computation[name] for name in line.operands]
    size = sum(array.size for each in given for array in each.arrays)
    group = (0, 1) if kind == "collective-permute" else members(line.rest, chips)
    return Collective(kind, size * len(group) if kind == "all-gather" else size, group, times)


def members(text: str, chips: int) -> tuple[int, ...]:
    """The first group of chips of a collective's attributes; all chips where none are named.

    Forms: {{0,1},{2,3}}; [2,4]<=[8], [4,2]<=[2,4]T(1,0): a range laid out, transposed and cut;
    mesh['a'=2,'b'=4] {'b'}: axes of a mesh, whose chips may be listed in another order:
    mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}. Raises ValueError for another form.
    """
    _, named, text = text.partition("replica_groups=")
    if not named or text.startswith("{}"):
        return tuple(range(chips))
    if listed := re.match(r"\{\{([\d,]+)\}", text):
        return tuple(map(int, listed.group(1).split(",")))
    if laid := re.match(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        cut, shape, order = (_numbers(part) for part in laid.groups())
        ids = np.arange(np.prod(shape)).reshape(shape)
        ids = ids.transpose(order) if order else ids
        return tuple(ids.reshape(cut)[0].ravel().tolist())
    if mesh := _MESH.match(text):
        axes = dict(re.findall(r"'(\w+)'=(\d+)", mesh["axes"]))
        ids = np.array(_numbers(mesh["listed"]) or range(chips))
        if mesh["laid"]:
            ids = ids.reshape(_numbers(mesh["laid"])).transpose(_numbers(mesh["order"]) or None)
        ids = ids.reshape([int(size) for size in axes.values()])
        moving = re.findall(r"'(\w+)'", mesh["moving"])
        part = tuple(slice(None) if axis in moving else 0 for axis in axes)
        return tuple(ids[part].ravel().tolist())
    raise ValueError(f"groups of a collective in an unknown form: {text[:80]!r}")


def _numbers(text: str | None) -> list[int]:
    return [int(number) for number in text.split(",")] if text else []


def links(group: Sequence[tuple[int, ...]], shape: tuple[int, ...], wraps: tuple[bool, ...]) -> int:
    """Links that a chip of a group can send over at the same time, at least 1.

    group: coordinates of its chips in a grid of `shape`; a dimension along which they differ gives
    two links where it is a whole closed ring of more than two, else one: the end of a line has one.
    """
    count = 0
    for axis, (size, closed) in enumerate(zip(shape, wraps, strict=True)):
        places = len({place[axis] for place in group})
        if places > 1:
            count += 2 if closed and places == size > 2 else 1
    return max(1, count)
