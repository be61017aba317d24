"""The numbers of five lecture decks, each computed again from the library's own networks and layers.

A deck is a file here: its claims quote the slide, say what the slide prints, and how the library computes it. What is
shown is computed now; ``expected`` is only compared. Claims that need data (accuracies, times) are listed beside.
"""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from minicnn.errors import ArgumentError
from minicnn.slides.expressions import Step, computed
from minicnn.slides.numbers import Value, printed, within

DECKS = (1, 2, 3, 4, 5)
VERDICTS = {
    "exact": "the slide prints this very number",
    "rounded": "the slide prints it rounded (or cut off)",
    "convention": "right by another way of counting, which the reason names",
    "slide error": "the slide is wrong",
    "paper error": "the slide repeats what its source has wrong",
    "needs data": "an accuracy or a time: no shape tells it",
}


class Claim(NamedTuple):
    """A number on a slide. Those that need data have neither ``compute`` nor ``expected``."""

    key: str
    deck: int
    quote: str  # word for word, tabs and all
    says: str  # the number, as printed there
    verdict: str
    why: str
    compute: str = ""  # an expression over minicnn.slides.vocabulary
    expected: Value = ""  # what it gave when the ledger was written

    @property
    def is_computed(self) -> bool:
        return bool(self.compute)


class Finding(NamedTuple):
    """A claim, and what its expression gives now."""

    claim: Claim
    value: Value
    steps: tuple[Step, ...]  # every function that was called, with its result

    @property
    def agrees(self) -> bool:
        """Whether the value is the expected one and the verdict follows from it."""
        return self.value == self.claim.expected and verdict_holds(self.claim, self.value)


def verdict_holds(claim: Claim, value: Value) -> bool:
    """An exact number is the slide's, a rounded one is it to the digits printed, an error is neither."""
    same, near = printed(claim.says) == value, within(claim.says, value)
    return {"exact": same, "rounded": near and not same, "convention": True}.get(claim.verdict, not near)


@cache
def claims(deck: int | None = None) -> tuple[Claim, ...]:
    """The ledger, or the part of one deck, in the order of the slides."""
    if deck is None:
        return tuple(claim for number in DECKS for claim in claims(number))
    return tuple(Claim(deck=deck, **entry) for entry in _file(deck)["claim"])


def title(deck: int) -> str:
    """What the deck calls itself."""
    return str(_file(deck)["title"])


@cache
def _file(deck: int) -> dict[str, Any]:
    if deck not in DECKS:
        raise ArgumentError(f"slides: deck={deck!r} is unknown, expected one of {', '.join(map(str, DECKS))}")
    return tomllib.loads((files("minicnn.slides") / f"deck{deck}.toml").read_text(encoding="utf-8"))


def claim(key: str) -> Claim:
    """The claim called ``key``. **Raises** ArgumentError that names the nearest."""
    import difflib

    known = {one.key: one for one in claims()}
    if key not in known:
        close = difflib.get_close_matches(key, known, 3, 0.4)
        hint = f"nearest: {', '.join(close)}" if close else "`minicnn slides` lists all"
        raise ArgumentError(f"slides: no claim is called {key!r}; {hint}")
    return known[key]


def findings(deck: int | None = None) -> Iterator[Finding]:
    """Every claim that shapes can decide, computed now."""
    return (find(one) for one in claims(deck) if one.is_computed)


def find(one: Claim) -> Finding:
    """Compute one claim."""
    value, steps = computed(one.compute)
    return Finding(one, value, tuple(steps))
