"""Bytes that a compiled program moves between HBM and the chip, loops counted as often as they run.

XLA's own "bytes accessed" counts the body of a loop once, and arrays that never leave the chip.
"""

from __future__ import annotations

from maskmim.planning.hlo import Array, Executed, Instruction, Program

# What moves nothing by itself: names for arrays, control, and the second half of what has begun.
_NOTHING = {
    "after-all",
    "add-dependency",
    "async-start",
    "bitcast",
    "call",
    "conditional",
    "constant",
    "domain",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
    "while",
}
_NAMES = {"bitcast", "convert", "copy", "reshape", "transpose", "get-tuple-element"}
_BUFFERS = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound")

Computation = dict[str, Instruction]


def hbm_bytes(program: Program, executed: Executed) -> int:
    """Bytes read from and written to HBM in one run, padding of arrays to whole tiles included.

    Every instruction reads its operands and writes its result, once each; a fusion is one
    instruction. What takes or replaces a slice of an array moves the slice only.
    """
    return sum(
        times * sum(_moved(program, program.computations[name], line) for line in lines)
        for name, times in executed.times.items()
        for lines in [program.computations[name].values()]
    )


def _moved(program: Program, computation: Computation, line: Instruction) -> int:
    """HBM bytes of one instruction."""
    if line.op in _NOTHING or line.op.endswith(("-done", "-update")):
        return 0
    if line.op == "custom-call" and any(f'"{name}"' in line.rest for name in _BUFFERS):
        return 0
    if line.op == "fusion":
        return _fused(program, computation, line)
    given = [computation[name].arrays for name in line.operands if name in computation]
    if line.op in ("copy-start", "slice-start"):  # (made, source, ...) and (source, made, ...)
        made = line.arrays[line.op == "slice-start"]
        return _far((made,)) + _far(given[0], made)
    if line.op in ("slice", "dynamic-slice", "gather"):
        return _far(line.arrays) + _far(given[0], line.arrays[0])
    if line.op == "dynamic-update-slice":
        return _far(line.arrays, given[1][0]) + _far(given[1])
    if line.op.endswith("-start"):
        return 2 * sum(map(_far, given))
    return _far(line.arrays) + sum(map(_far, given))


def _far(arrays: tuple[Array, ...], moved: Array | None = None) -> int:
    """Bytes of the arrays that lie in HBM; of each at most what is moved of it."""
    most = moved.held if moved else float("inf")
    return sum(min(each.held, most) for each in arrays if each.space == 0)


def _fused(program: Program, computation: Computation, line: Instruction) -> int:
    """HBM bytes of a fusion: what it uses of each operand, what it changes of each result."""
    total = sum(
        min(_far(computation[name].arrays), _used(program, line, place))
        for place, name in enumerate(line.operands)
        if name in computation
    )
    fused = program.computations[line.called("calls")[0]]
    root = next(each for each in fused.values() if each.root)
    results = [fused[name] for name in root.operands] if root.op == "tuple" else [root]
    if len(results) != len(line.arrays):
        return total + _far(line.arrays)
    pairs = zip(results, line.arrays, strict=True)
    return total + sum(min(_far((a,)), _changed(program, fused, result)) for result, a in pairs)


def _used(program: Program, fusion: Instruction, place: int) -> float:
    """Bytes at most that a fusion reads of its operand at a place: slices of it, or all of it."""
    fused = program.computations[fusion.called("calls")[0]]
    parameter = next(p for p in fused.values() if p.op == "parameter" and p.inside == str(place))
    return _read(program, fused, parameter.name)


def _read(program: Program, fused: Computation, name: str) -> float:
    """Bytes at most that the lines of a fusion read of the array called so."""
    total = 0.0
    for user in (each for each in fused.values() if name in each.operands):
        place = user.operands.index(name)
        if user.op in ("dynamic-slice", "slice", "gather") and place == 0:
            total += user.arrays[0].held
        elif user.op == "fusion":
            total += _used(program, user, place)
        elif user.op in _NAMES:
            total += _read(program, fused, user.name)
        elif not (user.op == "dynamic-update-slice" and place == 0):
            return float("inf")
    return total


def _changed(program: Program, fused: Computation, result: Instruction) -> float:
    """Bytes at most that a fusion writes of a result: a slice that it replaces, or all of it."""
    while result.op in _NAMES and result.operands[0] in fused:
        result = fused[result.operands[0]]
    if result.op == "fusion":
        inner = program.computations[result.called("calls")[0]]
        return _changed(program, inner, next(each for each in inner.values() if each.root))
    if result.op == "dynamic-update-slice":
        return fused[result.operands[1]].arrays[0].held
    return float("inf")
