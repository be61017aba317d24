"""The errors minicnn raises on purpose.

Every message says what was wrong (operation, argument, actual value), what was expected and how to mend it.
Inside a model the message starts with the path of the layer, e.g. ``layer3.0.conv2: conv2d: ...``.
"""

from minicnn.context import layer_path


class MinicnnError(Exception):
    """Base of all deliberate errors; puts the path of the running layer in front of the message.

    Messages quote files that anybody may have made: what would steer a terminal is shown as an escape (``\\x1b``).
    """

    def __init__(self, message: str) -> None:
        self.layer = layer_path()
        # not super(): one class is also CuPy's, whose own __init__ takes other arguments
        Exception.__init__(self, _visible(f"{self.layer}: {message}" if self.layer else message))


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


class ShapeError(MinicnnError, ValueError):
    """A shape or geometry that the operation cannot take."""


class DTypeError(MinicnnError, TypeError):
    """An array of the wrong dtype, or of mixed dtypes."""


class DeviceError(MinicnnError, RuntimeError):
    """Arrays on different devices, or a device that this machine does not have."""


class OutOfMemoryError(MinicnnError, MemoryError):
    """An array for which the GPU has no room: what was asked for, what is in use, what to make smaller."""

    def __init__(self, asked: str, where: str, layer: str = "") -> None:
        self.asked, self.where = asked, where
        message = (
            f"{asked} do not fit on {where}; fix: a smaller batch or smaller images, no_grad() where no gradient is "
            "needed, or minicnn.checkpoint(block, x), which keeps less for the backward pass"
        )
        super().__init__(f"{layer}: {message}" if layer else message)

    def of_array(self, shape: tuple[int, ...], dtype: object) -> "OutOfMemoryError":
        """The same error with what the bytes were for."""
        return type(self)(f"{self.asked} for an array of shape {tuple(shape)} and {dtype}", self.where)

    def in_backward(self, layer: str, operation: str) -> "OutOfMemoryError":
        """The same error with the operation, and the path of its layer, whose gradient was computed."""
        return type(self)(f"{self.asked} for the gradient of {operation}", self.where, layer)


class GradientError(MinicnnError, RuntimeError):
    """A backward pass that cannot be done, or a vjp that breaks its contract."""


class ArgumentError(MinicnnError, ValueError):
    """An option whose value is out of range or not supported."""


class IndexRangeError(MinicnnError, IndexError):
    """An index or a label outside the valid range."""


class DataError(MinicnnError, ValueError):
    """A dataset, image or folder that cannot be read as asked."""


class CheckpointError(MinicnnError, ValueError):
    """A checkpoint that is truncated, altered, or of another model."""


class NonFiniteLossError(MinicnnError, FloatingPointError):
    """A training whose loss or weights became NaN or infinite."""


class RankError(MinicnnError, RuntimeError):
    """A rank of a job that did not come to where the others wait for it."""
