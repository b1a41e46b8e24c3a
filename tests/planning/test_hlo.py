"""Compiled programs read from their text."""

import pytest

from maskmim.planning import hlo, traffic
from maskmim.planning.hlo import Array, parse_arrays

LOOP = """HloModule jit_f, is_scheduled=true, num_partitions=2

%body (p: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %p = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%p), index=0
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %one = s32[]{:T(128)S(6)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %y = f32[8,128]{1,0:T(8,128)} add(%x, %x), metadata={op_name="a (b" source_line=3}
  ROOT %out = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%next, /*index=1*/%y)
}

%condition (q: (s32[], f32[8,128])) -> pred[] {
  %q = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) parameter(0)
  %j = s32[]{:T(128)S(6)} get-tuple-element(%q), index=0
  %limit = s32[]{:T(128)} constant(7)
  ROOT %less = pred[]{:T(512)} compare(%j, %limit), direction=LT
}

ENTRY %main (a: f32[8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %begin = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) tuple(%zero, %a)
  %while.1 = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}) while(%begin), condition=%condition, \
body=%body
  ROOT %end = f32[8,128]{1,0:T(8,128)} get-tuple-element(%while.1), index=1
}
"""


def test_shapes_with_tiles_and_memories():
    assert parse_arrays("f32[8,128]{1,0:T(8,128)}") == (Array(4096, 4096, 0),)
    # 197 fills up to 256 lanes, 12 to 16 sublanes; S(1) is memory on the chip.
    found = parse_arrays("bf16[2,12,197]{2,1,0:T(8,128)(2,1)S(1)}")
    assert found == (Array(2 * 12 * 197 * 2, 2 * 16 * 256 * 2, 1),)
    # The layout says which dimension is the innermost: here the first of three.
    assert parse_arrays("bf16[197,2,12]{0,2,1:T(8,128)(2,1)}")[0].held == 2 * 16 * 256 * 2
    assert parse_arrays("(pred[3], s32[], u8[5]{0:T(1024)}, f8e4m3fn[4])") == (
        Array(3, 3, 0),
        Array(4, 4, 0),
        Array(5, 1024, 0),
        Array(4, 4, 0),
    )
    assert parse_arrays("s4[10]")[0].size == 5
    assert parse_arrays("token[]")[0].size == 0


def test_a_loop_runs_as_often_as_its_condition_says():
    program = hlo.parse_program(LOOP)
    assert hlo.count_executions(program) == ({"main": 1, "body": 7}, 0)
    # 7 times an array is read twice and written once.
    assert traffic.hbm_bytes(program, hlo.count_executions(program)) == 7 * 3 * 4096


def test_the_count_that_a_compiler_writes_beside_a_loop_wins():
    known = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"9"}}')
    assert hlo.count_executions(hlo.parse_program(known)).times["body"] == 9


def test_a_loop_whose_limit_is_no_constant_counts_once_and_is_reported():
    unknown = LOOP.replace("constant(7)", "add(%j, %j)")
    assert hlo.count_executions(hlo.parse_program(unknown)) == ({"main": 1, "body": 1}, 1)


def test_a_comparison_within_a_fusion_is_found():
    inner = """%compared (u: s32[], v: s32[]) -> pred[] {
  %u = s32[] parameter(0)
  %v = s32[] parameter(1)
  ROOT %c = pred[] compare(%u, %v), direction=LT
}

ENTRY"""
    fused = LOOP.replace("ENTRY", inner).replace(
        "compare(%j, %limit), direction=LT", "fusion(%j, %limit), kind=kLoop, calls=%compared"
    )
    assert hlo.count_executions(hlo.parse_program(fused)).times["body"] == 7


def test_slices_move_only_themselves():
    text = """HloModule f

%changed (a: f32[100,128], b: f32[1,128], i: s32[]) -> f32[100,128] {
  %a = f32[100,128]{1,0} parameter(0)
  %b = f32[1,128]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %z = s32[] constant(0)
  ROOT %d = f32[100,128]{1,0} dynamic-update-slice(%a, %b, %i, %z)
}

%taken (c: f32[100,128], j: s32[]) -> f32[1,128] {
  %c = f32[100,128]{1,0} parameter(0)
  %j = s32[] parameter(1)
  %y = s32[] constant(0)
  %s = f32[1,128]{1,0} dynamic-slice(%c, %j, %y), dynamic_slice_sizes={1,128}
  ROOT %n = f32[1,128]{1,0} negate(%s)
}

ENTRY %main (p: f32[100,128], k: s32[]) -> f32[100,128] {
  %p = f32[100,128]{1,0} parameter(0)
  %k = s32[]{:S(6)} parameter(1)
  %t = f32[1,128]{1,0} fusion(%p, %k), kind=kLoop, calls=%taken
  ROOT %w = f32[100,128]{1,0} fusion(%p, %t, %k), kind=kLoop, calls=%changed
}
"""
    program = hlo.parse_program(text)
    row = 128 * 4
    assert traffic.hbm_bytes(program, hlo.count_executions(program)) == 4 * row


def test_what_is_no_program_is_an_error():
    with pytest.raises(ValueError, match="no ENTRY"):
        hlo.parse_program("module @jit_f {}")
