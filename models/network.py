"""``Network``: what every model of the catalog can do besides ``forward``."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minicnn.context import abstract, no_grad
from minicnn.errors import ArgumentError
from minicnn.kernels.shape_array import ShapeArray
from minicnn.models.spec import ModelInfo
from minicnn.nn import Module
from minicnn.tensor import Tensor


class Stage(NamedTuple):
    """One resolution of a network."""

    name: str
    stride: int  # input pixels a step of its output
    channels: int


# How much wider a second image is: its outputs grow by exactly this over the stride, whatever the padding.
_WIDER = 1 << 10


class _LastStage(Exception):
    """The last stage has been seen; nothing after it matters."""


class Network(Module):
    """A model of the catalog. Subclasses set ``stage_paths`` (and ``cam_path`` where the last stage is not the one).

    ``info`` is the row it was built from, None for a hand-made one.
    """

    # stage name -> path of the submodule whose output is that stage, from the input to the output
    stage_paths: ClassVar[Mapping[str, str]] = {}
    cam_path: ClassVar[str] = ""
    info: ModelInfo | None = None

    def adapt_state(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The state dict ``values`` under today's names; families whose files have older ones translate them here."""
        return values

    def extra_repr(self) -> str:
        if self.info is None:
            return super().extra_repr()
        facts = f"{self.info.name}, {self.info.form} form ({self.info.paper})"
        return f"{facts}, {super().extra_repr()}" if super().extra_repr() else facts

    def stage_outputs(self, x: Any) -> dict[str, Tensor]:
        """Run the network and return what each stage puts out, from the first to the last, by its name."""
        found: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            for name, path in self.stage_paths.items():

                def keep(module: Module, args: Any, output: Any, name: str = name) -> None:
                    found[name] = output

                hooks.enter_context(self.get_submodule(path).register_forward_hook(keep))
            self(x)
        return {name: found[name] for name in self.stage_paths}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Name, stride and channels of every stage, found by shapes alone."""
        channels, height, width = self.input_shape
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            before, after = (self._stage_shapes((channels, height + more, width + more)) for more in (0, _WIDER))
        finally:
            for module, mode in modes:
                module.training = mode
        return tuple(
            Stage(name, _WIDER // max(after[name][2] - shape[2], 1), shape[1]) for name, shape in before.items()
        )

    def _stage_shapes(self, image: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
        """The shape of every stage for an ``image``; what follows the last stage need not fit it."""
        found: dict[str, tuple[int, ...]] = {}

        def keep(name: str, last: bool) -> Callable[..., None]:
            def hook(module: Module, args: Any, output: Any) -> None:
                found[name] = output.shape
                if last:
                    raise _LastStage

            return hook

        names = list(self.stage_paths)
        with ExitStack() as stack, suppress(_LastStage):
            for name, path in self.stage_paths.items():
                hook = keep(name, name == names[-1])
                stack.enter_context(self.get_submodule(path).register_forward_hook(hook))
            stack.enter_context(abstract())
            stack.enter_context(no_grad())
            self(Tensor(ShapeArray((1, *image), np.float32)))
        return found

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image: those of the catalog, with the channels it was built with.

        **Raises** ArgumentError for a network that was built by hand.
        """
        if self.info is None:
            raise ArgumentError(
                f"{type(self).__name__}.input_shape: built by hand, so its images are not known; "
                "fix: models.create(name), or for the stages stage_outputs(x)"
            )
        channels, height, width = self.info.input_shape
        channels = next((p.shape[1] for p in self.parameters() if p.ndim == 4), channels)
        return channels, height, width

    @property
    def cam_layer(self) -> Module:
        """The layer whose output Grad-CAM weighs: the last one that still has places."""
        return self.get_submodule(self.cam_path or list(self.stage_paths.values())[-1])
