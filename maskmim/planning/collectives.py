"""The collectives of a compiled train step: what chips send each other."""

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

    payload: bytes of the whole array on a chip: reduced, gathered or passed on.
    group:   chips of one group, as indices into the mesh's devices; all groups are alike.
    times:   executions in one run of the program.
    """

    kind: str
    payload: int
    group: tuple[int, ...]
    times: int

    @property
    def sent(self) -> float:
        """Return the fewest bytes that each chip can send per execution.

        In a ring of n chips each sends (n - 1) / n of the array to gather or scatter it, and an
        all-reduce is a reduce-scatter and an all-gather (Patarasuk and Yuan, 2009).
        """
        others = (len(self.group) - 1) / len(self.group)
        return self.payload * {"all-reduce": 2 * others, "collective-permute": 1}.get(
            self.kind, others
        )


class KindTotal(NamedTuple):
    """Collectives of one kind in a step: executions, bytes of their arrays, bytes a chip sends."""

    count: int
    payload: int
    sent: float


def find_collectives(
    program: hlo.Program, executions: hlo.Executions, chips: int
) -> list[Collective]:
    """Return the collectives of a program for `chips` chips, with how often each runs.

    An asynchronous collective is counted once, at its start. Groups of one chip are left out.
    """
    collectives = []
    for name, times in executions.times.items():
        for line in program.computations[name].values():
            collectives += _collectives_of(program, name, line, chips, times)
    return [collective for collective in collectives if len(collective.group) > 1]


def sum_by_kind(collectives: Iterable[Collective]) -> dict[str, KindTotal]:
    """Sum collectives by kind, in the order of KINDS, without kinds that do not occur."""
    totals: dict[str, KindTotal] = {}
    for collective in sorted(collectives, key=lambda each: KINDS.index(each.kind)):
        kind, times = collective.kind, collective.times
        count, payload, sent = totals.get(kind, KindTotal(0, 0, 0.0))
        totals[kind] = KindTotal(
            count + times,
            payload + times * collective.payload,
            sent + times * collective.sent,
        )
    return totals


def _collectives_of(
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
        if each.op in KINDS and _starts_here(inner, each)
    ]


def _starts_here(fused: dict[str, hlo.Instruction], line: hlo.Instruction) -> bool:
    """Return whether a collective starts in this fusion, so that it counts here.

    A TPU program spreads a collective over several fusions that compute in the meantime. Each of
    them repeats its line, and the first one has the call AsyncCollectiveStart.
    """
    spread = "chain_id" in line.rest
    return not spread or any('"AsyncCollectiveStart"' in each.rest for each in fused.values())


def _fused_kind(fused: dict[str, hlo.Instruction], line: hlo.Instruction) -> str:
    """Return a collective's kind; an all-reduce whose fusion keeps a slice is a reduce-scatter."""
    users = [each.op for each in fused.values() if line.name in each.operands]
    sliced = line.op == "all-reduce" and users == ["dynamic-slice"]
    return "reduce-scatter" if sliced else line.op


def _collective(
    computation: dict[str, hlo.Instruction],
    line: hlo.Instruction,
    kind: str,
    chips: int,
    times: int,
) -> Collective:
    operands = [computation[name] for name in line.operands]
    size = sum(array.size for operand in operands for array in operand.arrays)
    group = (0, 1) if kind == "collective-permute" else first_group(line.rest, chips)
    return Collective(kind, size * len(group) if kind == "all-gather" else size, group, times)


def first_group(text: str, chips: int) -> tuple[int, ...]:
    """Return the first group of chips in a collective's attributes, all chips where none is named.

    Forms: {{0,1},{2,3}}; [2,4]<=[8] and [4,2]<=[2,4]T(1,0), a range reshaped, transposed and cut;
    mesh['a'=2,'b'=4] {'b'}, axes of a mesh, with its chips in another order as in
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
    raise ValueError(f"unknown form of a collective's groups: {text[:80]!r}")


def _numbers(text: str | None) -> list[int]:
    return [int(number) for number in text.split(",")] if text else []


def usable_links(
    group: Sequence[tuple[int, ...]], shape: tuple[int, ...], wraps: tuple[bool, ...]
) -> int:
    """Return the number of links that a chip of a group can send over at once, at least 1.

    group: coordinates of its chips in a grid of `shape`. A dimension along which they differ gives
    two links where they fill a closed ring of more than two chips, else one, as at a line's end.
    """
    count = 0
    for axis, (size, closed) in enumerate(zip(shape, wraps, strict=True)):
        positions = len({chip[axis] for chip in group})
        if positions > 1:
            count += 2 if closed and positions == size > 2 else 1
    return max(1, count)
