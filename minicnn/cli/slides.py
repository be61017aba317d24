"""``minicnn slides``: the numbers of five lecture decks, computed again."""

from typing import Any

import click

from minicnn.cli.output import console, json_option, print_json

WIDE = 100  # columns of a terminal in which a sentence has room beside the numbers
COLOURS = {
    "exact": "green",
    "rounded": "green",
    "convention": "cyan",
    "slide error": "red",
    "paper error": "magenta",
    "needs data": "bright_black",
}


@click.command("slides")
@click.option("--deck", type=click.IntRange(1, 5), help="Only this deck.")
@click.option("--check", is_flag=True, help="Print only what is not as expected.")
@click.option("--explain", "key", metavar="KEY", help="Where one number comes from, step by step.")
@json_option
def command(deck: int | None, check: bool, key: str | None, as_json: bool) -> int:
    """What lecture slides say, what the library computes for it now, and whether the slide is right.

    Exit code 1: something computed is not what it was when the ledger was written.
    """
    from minicnn import slides

    if key is not None:
        return _explain(slides.claim(key), as_json)
    found = {finding.claim.key: finding for finding in slides.findings(deck)}
    wrong = [finding for finding in found.values() if not finding.agrees]
    if as_json:
        print_json([_facts(claim, found.get(claim.key)) for claim in slides.claims(deck)])
        return 1 if wrong else 0
    for number in (deck,) if deck else slides.DECKS:
        shown = [claim for claim in slides.claims(number) if not check or claim.key in {f.claim.key for f in wrong}]
        if shown:
            _print_deck(number, shown, found)
    _print_totals(slides.claims(deck), found, wrong)
    return 1 if wrong else 0


def _facts(claim: Any, finding: Any) -> dict[str, Any]:
    computed = {} if finding is None else {"computed": finding.value, "agrees": finding.agrees}
    return {**claim._asdict(), **computed}


def _print_deck(deck: int, claims: Any, found: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from minicnn import slides

    table = Table(title=f"deck {deck}: {slides.title(deck)}", box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    screen = console()
    wide = screen.width >= WIDE
    table.add_column("claim", overflow="fold", no_wrap=wide)
    for name in ("slide", "computed"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    if wide:  # --explain tells it, too
        table.add_column("why", overflow="fold", ratio=1)
    for claim in claims:
        finding = found.get(claim.key)
        verdict = f"[{COLOURS[claim.verdict]}]{claim.verdict}[/]"
        if finding is not None and not finding.agrees:
            verdict = f"[reverse red]not {_text(claim.expected)}[/]"
        cells = (claim.key, _plain(claim.says), _plain(_value(finding)), verdict, _plain(claim.why))
        table.add_row(*cells[: 5 if wide else 4])
    screen.print(table)


def _print_totals(claims: Any, found: Any, wrong: Any) -> None:
    from minicnn import slides

    counts = {name: sum(claim.verdict == name for claim in claims) for name in slides.VERDICTS}
    told = ", ".join(f"[{COLOURS[name]}]{count} {name}[/]" for name, count in counts.items() if count)
    state = f"[red]{len(wrong)} not as expected[/]" if wrong else "all as expected"
    console().print(f"{len(found)} of {len(claims)} numbers computed, {state}: {told}", soft_wrap=True)


def _explain(claim: Any, as_json: bool) -> int:
    """The quote, the expression, every function it calls with its result, and the verdict."""
    from minicnn import slides

    finding = slides.find(claim) if claim.is_computed else None
    if as_json:
        steps = {} if finding is None else {"steps": [step._asdict() for step in finding.steps]}
        print_json(_facts(claim, finding) | steps)
        return 0 if finding is None or finding.agrees else 1
    lines = [f"{claim.key}, deck {claim.deck}: {slides.title(claim.deck)}"]
    lines += [f"  quote     {claim.quote.replace(chr(9), '  ')}", f"  says      {claim.says}"]
    if finding is not None:
        lines += [f"  computed  {_text(finding.value)} = {claim.compute}"]
        parts = [step for step in finding.steps if step.value != finding.value]
        lines += [f"            {_text(step.value)} = {step.call}" for step in parts]
        lines += [f"            {doc}" for doc in _meanings(finding)]
    lines.append(f"  verdict   {claim.verdict}: {claim.why or slides.VERDICTS[claim.verdict]}")
    if finding is not None and not finding.agrees:
        lines.append(f"  expected  {_text(claim.expected)}: what was computed differs, or the verdict does not follow")
    click.echo("\n".join(lines))
    return 0 if finding is None or finding.agrees else 1


def _meanings(finding: Any) -> list[str]:
    """What each function of the expression is, once."""
    from minicnn.slides.vocabulary import VOCABULARY

    names = dict.fromkeys(step.call.partition("(")[0] for step in finding.steps)
    return [f"{name}: {(VOCABULARY[name].__doc__ or '').strip().splitlines()[0]}" for name in names]


def _value(finding: Any) -> str:
    return "" if finding is None else _text(finding.value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _plain(text: str) -> str:
    """Without meaning to rich: brackets are text."""
    return text.replace("[", r"\[")
