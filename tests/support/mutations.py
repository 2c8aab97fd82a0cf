"""Inputs for fuzzing, from a seeded generator: a few microseconds each, where Hypothesis takes a millisecond.

So a million of them takes minutes, and a failure names the seed that makes its input again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

Text = TypeVar("Text", str, bytes)

_LETTERS = "\0\t\r\n \"%&'()*+,-./09:;<=>?AZ[\\]_az{|}~\x7f\x80é٣\u200d\u202e\ud800\udfff\uffff😀"


def joined(chance: random.Random, fragments: Sequence[Text], *, most: int = 20) -> Text:
    """Some of the fragments, one after the other."""
    chosen = chance.choices(fragments, k=chance.randrange(most + 1))
    return fragments[0][:0].join(chosen)


def any_text(chance: random.Random, *, most: int = 30) -> str:
    """Characters that parsers go wrong at, and any others."""
    letters = (
        chance.choice(_LETTERS) if chance.random() < 0.7 else chr(chance.randrange(0x110000))
        for _ in range(chance.randrange(most + 1))
    )
    return "".join(letters)


def any_bytes(chance: random.Random, *, most: int = 30) -> bytes:
    """Bytes."""
    return chance.randbytes(chance.randrange(most + 1))


def mutated(chance: random.Random, given: Text, filling: Sequence[Text]) -> Text:
    """What was given with up to four cuts, repetitions and insertions."""
    for _ in range(chance.randrange(5)):
        begin, end = sorted((chance.randrange(len(given) + 1), chance.randrange(len(given) + 1)))
        match chance.randrange(5):
            case 0:
                given = given[:begin] + given[end:]
            case 1:
                given = given[:begin] + chance.choice(filling) + given[begin:]
            case 2:
                given = given[:begin] + chance.choice(filling) + given[begin + 1 :]
            case 3:
                given = given[:end] + given[begin:]
            case _:
                given = given[:begin] + given[begin : begin + 1] * 2 + given[begin + 1 :]
    return given
