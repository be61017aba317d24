"""Modules that hold modules, and the two that only pass on: ``Identity`` and ``Flatten``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from minicnn import ops
from minicnn.errors import ArgumentError, IndexRangeError
from minicnn.nn.module import Module


class _Numbered(Module):
    """Children in order, reached by position."""

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def _name_of(self, index: int) -> str:
        names = [name for name, _ in self.named_children()]
        if not -len(names) <= index < len(names):
            raise IndexRangeError(f"{type(self).__name__}[{index}]: it has {len(names)} modules")
        return names[index]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._of(dict(list(self.named_children())[index]))
        return getattr(self, self._name_of(index))

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_of(index), module)

    def _of(self, named: Mapping[str, Module]) -> Any:
        part = type(self)()
        for name, module in named.items():
            part.add_module(name, module)
        return part

    def append(self, module: Module) -> Self:
        """Add ``module`` at the end, under the next free number."""
        number = len(self)
        while str(number) in self.__dict__:
            number += 1
        self.add_module(str(number), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Runs its modules one after the other.

    ``Sequential(a, b)`` names them ``0``, ``1``; ``Sequential({"conv": a, "act": b})`` or ``Sequential(conv=a, act=b)``
    by hand. ``net[1:]`` is a Sequential of the same module objects under their old names.
    """

    def __init__(self, *modules: Any, **named: Module) -> None:
        super().__init__()
        first = modules[0] if modules else None
        given = first if isinstance(first, Mapping) else {str(number): module for number, module in enumerate(modules)}
        for name, module in {**given, **named}.items():
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules that ``parameters()`` sees; it has no forward of its own. A slice keeps counting from 0."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _of(self, named: Mapping[str, Module]) -> Any:
        return type(self)(named.values())


class ModuleDict(Module):
    """A dictionary of modules that ``parameters()`` sees; it has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        found = dict(self.named_children())
        if name not in found:
            raise ArgumentError(f"ModuleDict[{name!r}]: it has {list(found)}")
        return found[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.__dict__.get(name), Module)

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.named_children())

    keys = __iter__

    def values(self) -> Iterator[Module]:
        return self.children()

    def items(self) -> Iterator[tuple[str, Module]]:
        return self.named_children()


class Identity(Module):
    """Returns its input; takes and forgets any arguments, to stand in for another layer."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """Joins the dimensions ``start_dim`` to ``end_dim``: (N, C, H, W) -> (N, C*H*W)."""

    printed = ("start_dim", "end_dim")

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return ops.flatten(x, self.start_dim, self.end_dim)
