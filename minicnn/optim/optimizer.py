"""``Optimizer``: parameter groups with options, slots a parameter, and their state as numbers and arrays."""

import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from minicnn.errors import ArgumentError, CheckpointError, DeviceError, DTypeError, GradientError, ShapeError
from minicnn.kernels.arrays import Array, allocate, contiguous, device_of, is_float
from minicnn.tensor import Tensor, move

Options = dict[str, Any]
Slots = dict[str, Array]


class Rule(NamedTuple):
    """How a parameter is moved: a gate of ``minicnn.kernels.optim``, the slots it takes, the numbers that follow.

    Parameters of a group with equal rules are moved together; a slot that ``_slot_fills`` does not name is None.
    """

    gate: Callable[..., None]
    slots: tuple[str, ...]
    numbers: tuple[Any, ...]


class Optimizer:
    """Base of the optimisers: groups of parameters, each with its own options.

    ``params`` is an iterable of leaf tensors, of ``(name, tensor)`` pairs, or of groups: dicts with ``"params"`` and
    options that differ from the defaults. ``param_groups`` holds them with every option filled in; ``lr`` reads the
    first group's rate and sets every group's.

    A subclass gives ``_slot_fills`` and ``_rule``, and ``_check`` for its options. Slots (momentum, ...) are made
    at a parameter's first step. Differences from PyTorch: ``step`` takes no closure; ``state_dict`` gives a pair.
    """

    def __init__(self, params: Iterable[Any], defaults: Options) -> None:
        self.defaults = defaults
        self.param_groups: list[Options] = []
        self._names: list[str] = []
        self._slots: list[Slots] = []
        self._steps: list[int] = []
        if isinstance(params, (Tensor, dict)):
            raise ArgumentError(f"{self._op}: params is a {type(params).__name__}, expected a list; fix: [params]")
        if not isinstance(params, Iterable):
            raise ArgumentError(f"{self._op}: params is a {type(params).__name__}, expected a list of tensors")
        given = list(params)
        if not given:
            raise ArgumentError(f"{self._op}: params is empty; fix: list(model.parameters()), taken once, not used up")
        grouped = isinstance(given[0], dict)
        for group in given if grouped else [{"params": given}]:
            self.add_param_group(group)

    @property
    def _op(self) -> str:
        return f"optim.{type(self).__name__}"

    # ---- groups

    def add_param_group(self, group: Options) -> None:
        """Add ``{"params": [...], option: value, ...}``; missing options take the defaults."""
        if not isinstance(group, dict) or "params" not in group:
            raise ArgumentError(f"{self._op}: a group is {group!r}, expected a dict with 'params'")
        unknown = sorted(set(group) - {"params", *self.defaults})
        if unknown:
            raise ArgumentError(
                f"{self._op}: a group has the unknown option {unknown[0]!r}, expected one of {', '.join(self.defaults)}"
            )
        options = {**self.defaults, **{name: value for name, value in group.items() if name != "params"}}
        self._check(options)
        if not isinstance(group["params"], Iterable):
            raise ArgumentError(f"{self._op}: params is a {type(group['params']).__name__}, expected a list of tensors")
        members = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {id(tensor): name for name, (_, _, tensor) in zip(self._names, self._parameters(), strict=True)}
        tensors = [self._parameter(member, known) for member in members]
        self._names += [known[id(tensor)] for tensor in tensors]
        self.param_groups.append({"params": tensors, **options})
        self._slots += [{} for _ in tensors]
        self._steps += [0] * len(tensors)

    def _parameter(self, member: Any, known: dict[int, str]) -> Tensor:
        """The checked tensor; its name is added to ``known``, the names of those the optimiser has."""
        name, tensor = member if isinstance(member, tuple) and len(member) == 2 else ("", member)
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"{self._op}: a parameter is a {type(tensor).__name__}, expected a Tensor")
        name = name or getattr(tensor, "name", "") or f"parameter {len(known)}"
        if not tensor.is_leaf:
            raise GradientError(f"{self._op}: {name} of shape {tensor.shape} was computed; only leaves can be moved")
        if not is_float(tensor.dtype):
            raise DTypeError(f"{self._op}: {name} has dtype {tensor.dtype}, expected float32 or float64")
        if id(tensor) in known:
            raise ArgumentError(
                f"{self._op}: {name} of shape {tensor.shape} is given twice (also as {known[id(tensor)]}): it "
                "would be moved twice a step; fix: list shared parameters once"
            )
        known[id(tensor)] = name
        return tensor

    def _parameters(self) -> Iterator[tuple[int, Options, Tensor]]:
        index = 0
        for group in self.param_groups:
            for tensor in group["params"]:
                yield index, group, tensor
                index += 1

    @property
    def lr(self) -> float:
        """The first group's learning rate; assigning sets every group's."""
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = float(value)

    # ---- the step

    def zero_grad(self) -> None:
        """Forget every parameter's gradient (sets it to None)."""
        for _, _, tensor in self._parameters():
            tensor.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient, in place; those without are left as they are.

        On the GPU all parameters of a group (of one dtype, moved equally often) are moved by one launch.
        """
        together: dict[Any, list[tuple[int, Tensor, Array, Array, Slots]]] = {}
        for index, group, tensor in self._parameters():
            if tensor.grad is None:
                continue
            gradient = self._gradient(tensor, self._names[index])
            weight, slots = writable(tensor), self._filled_slots(index, group, tensor)
            rule = self._rule(self._steps[index] + 1, group)
            key = (id(group), weight.dtype, device_of(weight), rule)
            together.setdefault(key, []).append((index, tensor, weight, gradient, slots))
        for (*_, rule), moved in together.items():
            indices, tensors, weights, gradients, slots_of = zip(*moved, strict=True)
            columns = ([slots[name] for slots in slots_of] if name in slots_of[0] else None for name in rule.slots)
            rule.gate(weights, gradients, *columns, *rule.numbers)
            for index, tensor in zip(indices, tensors, strict=True):
                self._steps[index] += 1
                tensor.bump()

    def _filled_slots(self, index: int, group: Options, tensor: Tensor) -> Slots:
        """The slots that the group's options need, made at the first step."""
        slots = self._slots[index]
        fills = self._slot_fills(group)
        for name, fill in fills.items():
            if name not in slots:
                slots[name] = allocate(tensor.data, tensor.shape, fill=fill)
            self._check_slot(tensor, self._names[index], name, slots[name])
        return {name: slots[name] for name in fills}

    def _gradient(self, tensor: Tensor, name: str) -> Array:
        grad = tensor.grad
        if not isinstance(grad, Tensor):
            raise GradientError(f"{self._op}: the gradient of {name} is a {type(grad).__name__}, expected a Tensor")
        if grad.shape != tensor.shape:
            raise ShapeError(f"{self._op}: the gradient of {name} has shape {grad.shape}, expected {tensor.shape}")
        if grad.dtype != tensor.dtype:
            raise DTypeError(f"{self._op}: the gradient of {name} has dtype {grad.dtype}, expected {tensor.dtype}")
        if grad.device != tensor.device:
            raise DeviceError(f"{self._op}: the gradient of {name} is on {grad.device}, expected {tensor.device}")
        return contiguous(grad.data)

    def _check_slot(self, tensor: Tensor, name: str, slot_name: str, slot: Array) -> None:
        if slot.dtype != tensor.dtype or device_of(slot) != tensor.device:
            raise DeviceError(
                f"{self._op}: {name} is {tensor.dtype} on {tensor.device}, but its {slot_name} is "
                f"{slot.dtype} on {device_of(slot)}; fix: move or convert the model before its first step"
            )

    # ---- for the subclass

    def _check(self, options: Options) -> None:
        """Raise ArgumentError for options out of range."""

    def _slot_fills(self, group: Options) -> dict[str, float]:
        """The slots that a parameter of ``group`` needs, and what they hold before the first step."""
        raise NotImplementedError

    def _rule(self, step: int, group: Options) -> Rule:
        """How a parameter of ``group`` is moved at its own step number ``step``, counted from 1."""
        raise NotImplementedError

    # ---- state

    def state_dict(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """What is needed to go on: numbers that JSON can hold, and the slots as CPU arrays (not copied)."""
        groups = [
            {"params": len(group["params"]), **{name: group[name] for name in self.defaults}}
            for group in self.param_groups
        ]
        arrays = {
            f"{index}/{name}": move(array, "cpu")
            for index, slots in enumerate(self._slots)
            for name, array in slots.items()
        }
        return {"optimizer": type(self).__name__, "groups": groups, "steps": list(self._steps)}, arrays

    def load_state_dict(self, state: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Go on from ``state_dict()`` of the same optimiser over the same parameters, in the same order; copies.

        **Raises** CheckpointError when they do not fit; nothing is changed then.
        """
        self._check_state(state)
        slots: list[Slots] = [{} for _ in self._slots]
        tensors = [tensor for _, _, tensor in self._parameters()]
        for key, array in arrays.items():
            index, _, name = key.partition("/")
            if not index.isdecimal() or int(index) >= len(tensors) or not name:
                raise CheckpointError(f"{self._op}: the state has an array {key!r} for no parameter of this optimiser")
            tensor = tensors[int(index)]
            if tuple(array.shape) != tensor.shape or array.dtype != tensor.dtype:
                raise CheckpointError(
                    f"{self._op}: the state's {name} of {self._names[int(index)]} has shape {tuple(array.shape)} and "
                    f"dtype {array.dtype}, expected {tensor.shape} and {tensor.dtype}"
                )
            slots[int(index)][name] = contiguous(move(array.copy(), tensor.device))
        self._check_slots(state, slots)
        for group, saved in zip(self.param_groups, state["groups"], strict=True):
            group.update({name: _plain(saved[name]) for name in self.defaults})
        self._slots, self._steps = slots, [int(step) for step in state["steps"]]

    def _check_state(self, state: dict[str, Any]) -> None:
        if state.get("optimizer") != type(self).__name__:
            raise CheckpointError(f"{self._op}: the state is of {state.get('optimizer')!r}")
        saved = [group["params"] for group in state["groups"]]
        own = [len(group["params"]) for group in self.param_groups]
        if saved != own or len(state["steps"]) != sum(own):
            raise CheckpointError(
                f"{self._op}: the state has groups of {saved} parameters, expected {own}; is it of another model?"
            )
        for group in state["groups"]:
            missing = sorted(set(self.defaults) - set(group))
            if missing:
                raise CheckpointError(f"{self._op}: the state has no option {missing[0]!r}")
            options = {name: _plain(group[name]) for name in self.defaults}
            for name, default in self.defaults.items():
                value, exact = options[name], isinstance(_plain(default), (bool, str, tuple))
                if (exact or isinstance(value, tuple)) and type(value) is not type(_plain(default)):
                    raise CheckpointError(f"{self._op}: the state's option {name!r} is {options[name]!r}")
            try:
                self._check(options)
            except ArgumentError as error:
                raise CheckpointError(f"the state does not fit: {error}") from error

    def _check_slots(self, state: dict[str, Any], slots: list[Slots]) -> None:
        """**Raises** CheckpointError where a parameter that was moved lacks what moving it again needs."""
        groups = [group for group in state["groups"] for _ in range(group["params"])]
        for name, group, steps, own in zip(self._names, groups, state["steps"], slots, strict=True):
            missing = sorted(set(self._slot_fills(group)) - set(own)) if steps else []
            if missing:
                raise CheckpointError(f"{self._op}: the state has no {missing[0]} of {name}, moved {steps} times")


def _plain(value: Any) -> Any:
    """JSON turns tuples into lists."""
    return tuple(value) if isinstance(value, list) else value


def writable(tensor: Tensor) -> Array:
    """The tensor's array, replaced by a copy when it cannot be written flat (read-only, or strided)."""
    array = tensor.data
    if array.flags.c_contiguous and getattr(array.flags, "writeable", True):
        return array
    tensor.data = array.copy(order="C")
    return tensor.data


def in_range(op: str, options: Options, name: str, low: float, high: float = float("inf"), top: bool = False) -> None:
    """**Raises** ArgumentError unless ``low <= options[name] < high`` (``<=`` with ``top``), and finite."""
    values = options[name] if isinstance(options[name], tuple) else (options[name],)
    for value in values:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not (low <= value < high or (top and value == high)):
            bound = (
                f"at least {low:g}" if high == float("inf") else f"from {low:g} {'to' if top else 'to below'} {high:g}"
            )
            raise ArgumentError(f"{op}: {name}={options[name]!r}, expected a number {bound}")
