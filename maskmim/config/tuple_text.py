"""Splits the text of a tuple that is no Python literal, such as a,b or (a, b), at its commas."""

from __future__ import annotations

_PAIRS = {"(": ")", "[": "]", "{": "}"}


def elements_of(text: str) -> list[str]:
    """Return the elements of a tuple as they are written: 'a,b{1,2}' -> ['a', 'b{1,2}'].

    Commas inside brackets, inside quotes that begin an element, and after a backslash split
    nothing. One pair of () or [] around it all is dropped where a comma inside it makes a tuple.
    Raises ValueError naming a bracket or quote that lacks its other half.
    """
    text = text.strip()
    whole = _at_commas(text)
    if len(whole) == 1 and text[:1] in ("(", "[") and _closes_at(text) == len(text) - 1:
        inside = _at_commas(text[1:-1])
        whole = inside if len(inside) > 1 else whole
    return [element for element in map(str.strip, whole) if element]


def _at_commas(text: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    elements, start, place = [], 0, 0
    while place < len(text):
        if text[place] == ",":
            elements.append(text[start:place])
            start = place + 1
        place = _end_of_unit(text, place, begins=not text[start:place].strip()) + 1
    return [*elements, text[start:]]


def _end_of_unit(text: str, place: int, *, begins: bool) -> int:
    """Return where a character, an escaped one, a quoted text or a pair of brackets ends."""
    sign = text[place]
    if sign == "\\":
        return place + 1
    if sign in _PAIRS:
        return _closes_at(text, place)
    if sign in _PAIRS.values():
        raise ValueError(_lacks(text, sign, "never opened"))
    if begins and sign in "\"'":
        end = text.find(sign, place + 1)
        if end < 0:
            raise ValueError(_lacks(text, sign, "never closed"))
        return end
    return place


def _closes_at(text: str, start: int = 0) -> int:
    """Return where the bracket at `start` is closed; ValueError where it is not."""
    waiting, place = [_PAIRS[text[start]]], start + 1
    while place < len(text) and waiting:
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign == waiting[-1]:
            waiting.pop()
        elif sign in _PAIRS and waiting[-1] != "]":  # a regular expression's [(] opens nothing
            waiting.append(_PAIRS[sign])
        elif sign in _PAIRS.values() and waiting[-1] != "]":
            raise ValueError(_lacks(text, sign, "never opened"))
        place += 1
    if waiting:
        raise ValueError(_lacks(text, text[start], "never closed"))
    return place - 1


def _lacks(text: str, sign: str, what: str) -> str:
    return f'{sign} is {what} in "{text}"; a text with brackets of its own goes in quotes'
