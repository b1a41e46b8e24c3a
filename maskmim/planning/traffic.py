"""Bytes that a compiled program moves between HBM and the chip, loops counted in full.

XLA's own "bytes accessed" counts the body of a loop once, and includes arrays that never leave the
chip.
"""

from __future__ import annotations

from maskmim.planning.hlo import Array, Executions, Instruction, Program

# Instructions that move nothing: aliases, control flow, and those counted at another instruction.
_NO_TRAFFIC = {
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
_ALIASES = {"bitcast", "convert", "copy", "reshape", "transpose", "get-tuple-element"}
_BUFFERS = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound")

Computation = dict[str, Instruction]


def hbm_bytes(program: Program, executions: Executions) -> int:
    """Count the bytes read from and written to HBM in one run, with the padding of arrays to tiles.

    Every instruction reads its operands and writes its result once; a fusion is one instruction.
    Reading or replacing a slice of an array moves the slice only.
    """
    return sum(
        times * _instruction_bytes(program, program.computations[name], line)
        for name, times in executions.times.items()
        for line in program.computations[name].values()
    )


def _instruction_bytes(program: Program, computation: Computation, line: Instruction) -> int:
    """Return the HBM bytes of one instruction."""
    if line.op in _NO_TRAFFIC or line.op.endswith(("-done", "-update")):
        return 0
    if line.op == "custom-call" and any(f'"{name}"' in line.rest for name in _BUFFERS):
        return 0
    if line.op == "fusion":
        return _fusion_bytes(program, computation, line)
    operands = [computation[name].arrays for name in line.operands if name in computation]
    if line.op in ("copy-start", "slice-start"):  # (copy, source, ...) and (source, copy, ...)
        copy = line.arrays[line.op == "slice-start"]
        return _in_hbm((copy,)) + _in_hbm(operands[0], copy)
    if line.op in ("slice", "dynamic-slice", "gather"):
        return _in_hbm(line.arrays) + _in_hbm(operands[0], line.arrays[0])
    if line.op == "dynamic-update-slice":
        return _in_hbm(line.arrays, operands[1][0]) + _in_hbm(operands[1])
    if line.op.endswith("-start"):
        return 2 * sum(map(_in_hbm, operands))
    return _in_hbm(line.arrays) + sum(map(_in_hbm, operands))


def _in_hbm(arrays: tuple[Array, ...], part: Array | None = None) -> int:
    """Return the bytes of the arrays that are in HBM, of each at most those of `part`."""
    most = part.held if part else float("inf")
    return sum(min(array.held, most) for array in arrays if array.space == 0)


def _fusion_bytes(program: Program, computation: Computation, line: Instruction) -> int:
    """Return the HBM bytes of a fusion: what it reads of operands and writes of results."""
    total = sum(
        min(_in_hbm(computation[name].arrays), _operand_bytes(program, line, index))
        for index, name in enumerate(line.operands)
        if name in computation
    )
    fused = program.computations[line.called("calls")[0]]
    root = _root(fused)
    results = [fused[name] for name in root.operands] if root.op == "tuple" else [root]
    if len(results) != len(line.arrays):
        return total + _in_hbm(line.arrays)
    pairs = zip(results, line.arrays, strict=True)
    return total + sum(min(_in_hbm((a,)), _result_bytes(program, fused, r)) for r, a in pairs)


def _root(fused: Computation) -> Instruction:
    return next(line for line in fused.values() if line.root)


def _operand_bytes(program: Program, fusion: Instruction, index: int) -> float:
    """Return a bound on the bytes that a fusion reads of an operand: its slices, or inf for all."""
    fused = program.computations[fusion.called("calls")[0]]
    parameter = next(p for p in fused.values() if p.op == "parameter" and p.inside == str(index))
    return _bytes_read(program, fused, parameter.name)


def _bytes_read(program: Program, fused: Computation, name: str) -> float:
    """Return a bound on the bytes that a fusion reads of the array `name`, inf for all of it."""
    total = 0.0
    for user in (line for line in fused.values() if name in line.operands):
        index = user.operands.index(name)
        if user.op in ("dynamic-slice", "slice", "gather") and index == 0:
            total += user.arrays[0].held
        elif user.op == "fusion":
            total += _operand_bytes(program, user, index)
        elif user.op in _ALIASES:
            total += _bytes_read(program, fused, user.name)
        elif not (user.op == "dynamic-update-slice" and index == 0):
            return float("inf")
    return total


def _result_bytes(program: Program, fused: Computation, result: Instruction) -> float:
    """Return a bound on the bytes that a fusion writes of a result: a slice, or inf for all."""
    while result.op in _ALIASES and result.operands[0] in fused:
        result = fused[result.operands[0]]
    if result.op == "fusion":
        inner = program.computations[result.called("calls")[0]]
        return _result_bytes(program, inner, _root(inner))
    if result.op == "dynamic-update-slice":
        return fused[result.operands[1]].arrays[0].held
    return float("inf")
