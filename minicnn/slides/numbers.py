"""Numbers as slides print them: ``60M``, ``1,728``, ``25.5×10⁶``, ``94.86%``, ``55x55x96``."""

import re
from decimal import Decimal

Value = int | float | str

_SUFFIXES = {"": 0, "K": 3, "k": 3, "M": 6, "G": 9, "billion": 9, "million": 6, "×10⁶": 6, "×10⁹": 9, "MB": 6}
_NUMBER = re.compile(r"(-?[\d,]*\.?\d+)\s*([a-zA-Z×⁰-⁹\d]*)%?")


def _parsed(text: str) -> tuple[Decimal, Decimal] | None:
    """The number and what one step of its last printed digit is worth; None for shapes and words."""
    found = _NUMBER.fullmatch(text.strip().rstrip("%x"))
    if found is None or found[2] not in _SUFFIXES:
        return None
    digits, scale = found[1].replace(",", ""), Decimal(10) ** _SUFFIXES[found[2]]
    number = Decimal(digits)
    # zeros at the end of a whole number are no digits that someone counted: 800K may be anything from 800K to 900K
    rough = "." not in digits and (found[2] or text.endswith("x"))
    zeros = len(digits) - len(digits.rstrip("0")) if rough else 0
    return number * scale, Decimal(10) ** (zeros + int(number.as_tuple().exponent)) * scale


def printed(text: str) -> Value:
    """What the slide says, as a number if it is one."""
    parsed = _parsed(text)
    if parsed is None:
        return text
    number = parsed[0]
    return int(number) if number == number.to_integral_value() else float(number)


def within(text: str, value: Value) -> bool:
    """Whether ``value``, rounded or cut off, gives what the slide prints: it is less than a last digit away."""
    parsed = _parsed(text)
    if parsed is None or isinstance(value, str):
        return text == value
    return abs(Decimal(str(value)) - parsed[0]) < parsed[1]
