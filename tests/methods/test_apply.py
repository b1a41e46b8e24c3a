"""The entries of `Method.apply`: all known names, and an error for any other."""

import jax
import pytest

from maskmim.types import Apply
from tests.tiny import tiny_method


def test_a_method_of_the_package_has_known_entries():
    method = tiny_method()
    entries = {"encode", "evaluated", "mask", "reconstruct"}
    assert entries == set(method.apply) <= set(Apply.__annotations__)
    method.check_apply()


def test_an_unknown_entry_is_an_error():
    method = tiny_method()
    method = method._replace(apply={**method.apply, "reconstuct": jax.jit})
    with pytest.raises(ValueError, match=r"unknown entries \['reconstuct'\], known"):
        method.check_apply()
