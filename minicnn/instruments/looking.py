"""What instruments do to a model while they look: leave no trace, and keep what layers put out."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from minicnn.context import enable_grad


@contextmanager
def looking(model: Any) -> Iterator[None]:
    """Inside the block the model is in eval mode and no weight asks for a gradient; afterwards all is as before."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        model.requires_grad_(False)
        with enable_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


def outputs_at(model: Any, paths: Sequence[str], x: Any) -> tuple[Any, dict[str, Any]]:
    """What the model puts out, and what its layers at ``paths`` do; of a layer that runs twice the last output.

    **Raises** ArgumentError where there is no such layer, naming the nearest.
    """
    found: dict[str, Any] = {}
    with ExitStack() as hooks:
        for path in paths:

            def keep(module: Any, args: Any, output: Any, path: str = path) -> None:
                found[path] = output

            hooks.enter_context(model.get_submodule(path).register_forward_hook(keep))
        y = model(x)
    return y, found
