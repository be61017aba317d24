"""``minicnn slides``: tables, one number step by step, and the exit code."""

import json

import pytest

from minicnn import slides


def test_check_is_silent_when_all_is_well(minicnn):
    done = minicnn("slides", "--check")
    assert done.code == 0 and len(done.out.splitlines()) == 1
    assert "numbers computed, all as expected: " in done.out and "needs data" in done.out


def test_a_deck(minicnn):
    done = minicnn("slides", "--deck", "1")
    assert done.code == 0 and "Seoul National University" in done.out and "deck 2" not in done.out
    line = next(line for line in done.out.splitlines() if line.strip().startswith("1-vgg16-memory"))
    assert "96MB" in line and "60,950,432" in line and "slide error" in line
    assert len([line for line in done.out.splitlines() if line.strip().startswith("1-")]) == len(slides.claims(1))
    told = json.loads(minicnn("slides", "--deck", "2", "--json").out)
    assert [row["key"] for row in told] == [claim.key for claim in slides.claims(2)] and told[0]["computed"] == 25
    assert minicnn("slides", "--deck", "6").code == 2


def test_what_differs_is_shown_and_the_exit_code_is_1(minicnn, monkeypatch):
    broken = slides.claim("2-conv-arrows")._replace(expected=12)
    monkeypatch.setattr(slides, "claims", lambda deck=None: (broken,) if deck in (None, 2) else ())
    done = minicnn("slides", "--check")
    assert done.code == 1 and "not 12" in done.out and "1 not as expected" in done.out
    assert minicnn("slides", "--explain", "2-conv-arrows").code == 1
    assert minicnn("slides", "--check", "--json").code == 1


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("1-googlenet-ratio", ("(12x less than AlexNet)", "8.71112", "60,965,224 = params('alexnet')", "paper error")),
        ("5-alexnet-conv1-parameters", ("$(11*11*3)*96 = 35K$", "34,848 = weights", "without the 96 biases")),
        ("1-enas-speed", ("1000x speedup", "needs data")),
    ],
)
def test_explain(minicnn, key, parts):
    done = minicnn("slides", "--explain", key)
    assert done.code == 0 and all(part in done.out for part in parts)
    assert json.loads(minicnn("slides", "--explain", key, "--json").out)["key"] == key


def test_explain_of_nothing(minicnn):
    done = minicnn("slides", "--explain", "googlenet")
    assert done.code == 2 and "no claim is called 'googlenet'; nearest: " in done.err
