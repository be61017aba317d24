"""Expressions of the ledger: numbers, texts, tuples, ``+ - * / // **`` and the functions of the vocabulary. No more."""

import ast
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from minicnn.errors import ArgumentError
from minicnn.slides.numbers import Value
from minicnn.slides.vocabulary import VOCABULARY

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


class Step(NamedTuple):
    """A function that was called, as written, and what it gave."""

    call: str
    value: Any


def computed(expression: str) -> tuple[Value, list[Step]]:
    """The value of an expression, floats to six digits after the point, and the steps to it.

    **Raises** ArgumentError for anything but the grammar above.
    """
    steps: list[Step] = []
    try:
        value = _value(ast.parse(expression, mode="eval").body, steps)
    except SyntaxError as error:
        raise ArgumentError(f"slides: {expression!r} is no expression: {error.msg}") from None
    return (round(value, 6) if isinstance(value, float) else value), steps


def _value(node: ast.expr, steps: list[Step]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    if isinstance(node, ast.Tuple):
        return tuple(_value(part, steps) for part in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, steps)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, steps), _value(node.right, steps))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in VOCABULARY:
        arguments = [_value(part, steps) for part in node.args]
        named = {word.arg: _value(word.value, steps) for word in node.keywords if word.arg is not None}
        value = VOCABULARY[node.func.id](*arguments, **named)
        steps.append(Step(ast.unparse(node), value))
        return value
    raise ArgumentError(
        f"slides: {ast.unparse(node)!r} is not allowed in an expression; expected numbers, texts, tuples, arithmetic "
        f"and calls of {', '.join(VOCABULARY)}"
    )
