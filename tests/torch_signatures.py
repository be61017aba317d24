"""Our signatures beside PyTorch's.

``tests/torch_signatures.toml`` is PyTorch's side, written by ``python -m tests.torch_signatures --read-torch`` on a
machine with torch. ``python -m tests.torch_signatures --write`` writes ``docs/torch_differences.md`` from it.
"""

import argparse
import importlib
import inspect
import re
import sys
import tomllib
from pathlib import Path

from minicnn import ops

TABLE = Path(__file__).with_name("torch_signatures.toml")
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "torch_differences.md"

# Arguments of PyTorch that no operation of ours has, and why.
ABSENT = {
    "inplace": "results are new tensors; there is nothing to save by overwriting",
    "out": "kernels allocate their outputs; there is nothing to pass in",
    "size_average": "deprecated in PyTorch; `reduction` says it",
    "reduce": "deprecated in PyTorch; `reduction` says it",
    "_stacklevel": "private in PyTorch",
    "dtype": "convert with `.astype(...)` before or after",
    "sparse_grad": "there are no sparse tensors",
}
# Single differences: (operation, argument) -> why.
ON_PURPOSE: dict[tuple[str, str], str] = {
    ("add", "alpha"): "write `x + alpha * y`",
    ("sub", "alpha"): "write `x - alpha * y`",
    ("div", "rounding_mode"): "true division only",
    ("argmax", "dim"): "as PyTorch's overload `argmax(input, dim, keepdim=False)`",
}
# Differences of behaviour that a signature does not show.
BEHAVIOUR = (
    "The first argument is called `x` where PyTorch says `input`; it is positional in both.",
    "Float dtypes are never mixed: float32 with float64 raises DTypeError naming the conversion. "
    "PyTorch promotes some and refuses others.",
    "`padding` of a convolution also takes `((top, bottom), (left, right))`.",
    "`Tensor.size` is a number as in NumPy; PyTorch's `size()` is `shape`.",
    "Lists and Python floats become float32; NumPy arrays keep their dtype.",
    "`Tensor.transpose(*axes)` permutes as in NumPy; `ops.transpose(x, dim0, dim1)` is PyTorch's.",
)


def read_torch() -> dict[str, str]:
    """PyTorch's signatures of all our operations, as text; builtins are read from the first line of their help."""
    torch = importlib.import_module("torch")
    found = {}
    for name in sorted(ops.__all__):
        function = getattr(torch.nn.functional, name, None) or getattr(torch, name, None)
        if function is None:
            continue
        text = BY_HAND.get(name) or _signature(function)
        if text is not None:
            found[name] = text
    return found


# Overloaded or wrapped functions, whose help has no single signature: from the reference pages.
_POOL = "kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False"
BY_HAND = {
    "max_pool2d": f"(input, {_POOL})",
    "adaptive_max_pool2d": "(input, output_size, return_indices=False)",
    "split": "(tensor, split_size_or_sections, dim=0)",
    "squeeze": "(input, dim=None)",
    "sum": "(input, dim=None, keepdim=False, *, dtype=None)",
    "mean": "(input, dim=None, keepdim=False, *, dtype=None)",
    "prod": "(input, dim=None, keepdim=False, *, dtype=None)",
    "max": "(input, dim=None, keepdim=False, *, out=None)",
    "min": "(input, dim=None, keepdim=False, *, out=None)",
    "argmax": "(input, dim=None, keepdim=False)",
    "argmin": "(input, dim=None, keepdim=False)",
    "clip": "(input, min=None, max=None, *, out=None)",
    "abs": "(input, *, out=None)",
    "clone": "(input)",
}


def _signature(function: object) -> str | None:
    try:
        signature = inspect.signature(function)  # type: ignore[arg-type]
        plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    except ValueError:
        first = (function.__doc__ or "").strip().splitlines()[:1]
        match = re.match(r"\w+(\(.*\))", first[0]) if first else None
        return re.sub(r": [^,=)]+(\[[^\]]*\])?", "", match[1]) if match else None


def torch_table() -> dict[str, str]:
    """The committed side of PyTorch."""
    return dict(tomllib.loads(TABLE.read_text(encoding="utf-8"))["signatures"])


def arguments(text: str) -> list[tuple[str, str | None]]:
    """``"(input, p=0.5, *, out=None)"`` -> ``[("input", None), ("p", "0.5"), ("out", "None")]``."""
    function = eval(f"lambda {text.strip()[1:-1]}: None")  # text of our own committed table
    return [
        (p.name, None if p.default is p.empty else _plain(p.default))
        for p in inspect.signature(function).parameters.values()
    ]


def _plain(value: object) -> str:
    return repr(float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def differences(name: str, torch_text: str) -> list[str]:
    """How our signature of ``name`` differs from PyTorch's in a way that nothing above allows."""
    signature = inspect.signature(getattr(ops, name)).parameters
    theirs = [
        (arg, default)
        for arg, default in arguments(torch_text)
        if (name, arg) not in ON_PURPOSE and (arg in signature or arg not in ABSENT)
    ]
    ours = [
        (p.name, None if p.default is p.empty else _plain(p.default))
        for p in signature.values()
        if p.kind is not p.KEYWORD_ONLY and (name, p.name) not in ON_PURPOSE
    ]
    wanted = [
        ("x" if arg == "input" or (i == 0 and arg == "tensor") else arg, default)
        for i, (arg, default) in enumerate(theirs)
    ]
    if ours[: len(wanted)] == wanted and len(ours) == len(wanted):
        return []
    return [f"{name}: ours is ({_show(ours)}), PyTorch's is ({_show(wanted)})"]


def _show(pairs: list[tuple[str, str | None]]) -> str:
    return ", ".join(arg if default is None else f"{arg}={default}" for arg, default in pairs)


def document() -> str:
    """``docs/torch_differences.md``."""
    table = torch_table()
    lines = [
        "# Where minicnn differs from PyTorch",
        "",
        "`minicnn.ops` has the names, argument names, order and defaults of `torch.nn.functional` (and of `torch` for",
        "tensor arithmetic). Written by `python -m tests.torch_signatures --write`; compared by a test.",
        "",
        "## Arguments that are absent everywhere",
        "",
        *(f"- `{name}`: {why}." for name, why in ABSENT.items() if not name.startswith("_")),
        "",
        "## Single arguments",
        "",
        *(f"- `{op}`, `{argument}`: {why}." for (op, argument), why in sorted(ON_PURPOSE.items())),
        *(f"- `{op}` also takes, by name only: {extra}." for op, extra in _extras(table)),
        "",
        "## Behaviour",
        "",
        *(f"- {text}" for text in BEHAVIOUR),
        "",
        "## Operations PyTorch does not have under this name",
        "",
        *(f"- `{name}`: {_first_line(name)}" for name in sorted(ops.__all__) if name not in table),
    ]
    return "\n".join(lines) + "\n"


def _extras(table: dict[str, str]) -> list[tuple[str, str]]:
    found = []
    for name in sorted(table):
        known = {arg for arg, _ in arguments(table[name])}
        extra = [p.name for p in inspect.signature(getattr(ops, name)).parameters.values() if p.kind is p.KEYWORD_ONLY]
        extra = [arg for arg in extra if arg not in known]
        if extra:
            found.append((name, ", ".join(f"`{arg}`" for arg in extra)))
    return found


def _first_line(name: str) -> str:
    return (inspect.getdoc(getattr(ops, name)) or "").splitlines()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read-torch", action="store_true", help="rewrite the table of PyTorch's signatures")
    parser.add_argument("--write", action="store_true", help="rewrite docs/torch_differences.md")
    chosen = parser.parse_args()
    if chosen.read_torch:
        import tomli_w

        version = importlib.import_module("torch").__version__.partition("+")[0]
        TABLE.write_bytes(tomli_w.dumps({"torch": version, "signatures": read_torch()}).encode())
    if chosen.write:
        DOCUMENT.write_text(document(), encoding="utf-8")
    problems = [line for name, text in torch_table().items() for line in differences(name, text)]
    print("\n".join(problems) or "all signatures agree")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
