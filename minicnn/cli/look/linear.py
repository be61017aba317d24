"""``minicnn look matrix``, ``kernels`` and ``shifts``: what a convolution is, and what it does to a picture."""

from pathlib import Path
from typing import Any

import click

from minicnn.cli.look.parts import opened, out_option, put, report, weights_option
from minicnn.cli.output import json_option, print_table
from minicnn.cli.predict import read_image


@click.command("matrix")
@click.option("--size", type=click.IntRange(2, 12), default=5, show_default=True, help="Side of the image, pixels.")
@click.option("--kernel", type=click.IntRange(1, 12), default=3, show_default=True, help="Side of the kernel.")
@click.option("--stride", type=click.IntRange(1), default=1, show_default=True, help="Of the kernel.")
@click.option("--padding", type=click.IntRange(0), help="Zeros a side; default: half the kernel.")
@click.option("--dilation", type=click.IntRange(1), default=1, show_default=True, help="Of the kernel.")
@out_option
@json_option
def matrix(size: int, kernel: int, stride: int, padding: int | None, dilation: int, out: Path, as_json: bool) -> None:
    """Convolution as arrows and as a banded matrix: of a line of pixels, and of an image."""
    from minicnn.instruments.arrows import draw_connections, draw_plane
    from minicnn.instruments.banded import connections, taps

    margin = dilation * (kernel - 1) // 2 if padding is None else padding
    line = taps((1, 1, 1, kernel), (1, size), (1, stride), (0, margin), (1, dilation))
    image = taps((1, 1, kernel, kernel), size, stride, margin, dilation)
    side = round(len(image) ** 0.5)
    title = f"A {kernel}x{kernel} convolution of an image of {size}x{size}: {side**2} outputs, {size**2} inputs"
    files = put(out, {"line": draw_connections(line), "image": draw_plane(image, (side, size), title)})
    counts = {name: connections(where) for name, where in (("line", line), ("image", image))}
    if not as_json:
        columns = ("of a", "arrows if full", "arrows, weights if local", "weights if shared")
        print_table(columns, [(name, *found) for name, found in counts.items()])
    report(files, as_json, **{name: found._asdict() for name, found in counts.items()})


@click.command("kernels")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(8, 4096), default=256, show_default=True, help="Side of the pictures.")
@out_option
@json_option
def kernels(image: Path, size: int, out: Path, as_json: bool) -> None:
    """What blur, sharpen, Sobel and their kin make of IMAGE, and which of them are a column times a row."""
    from minicnn.data.pictures import read_picture
    from minicnn.instruments.drawing import draw_grid
    from minicnn.instruments.playground import KERNELS, displayed, filtered, gradient_magnitude
    from minicnn.instruments.separable import separate

    picture = read_picture(image, size, 3) / 255
    ranks = {name: separate(kernel).rank for name, kernel in KERNELS.items()}
    shown = {
        f"{name}, rank {ranks[name]}": displayed(filtered(picture, kernel), name) for name, kernel in KERNELS.items()
    }
    steep = gradient_magnitude(picture)
    shown["length of both sobel answers"] = steep / (steep.max() or 1.0)
    title = "Small kernels. Rank 1: a column times a row. Where a kernel sums to 0, grey is 0"
    grid = draw_grid({name: values.transpose(1, 2, 0) for name, values in shown.items()}, columns=4, title=title)
    report(put(out, {"kernels": grid}), as_json, ranks=ranks)


@click.command("shifts")
@click.argument("model")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--most", type=click.IntRange(1), help="Largest shift, pixels; default: the largest stride of a stage.")
@weights_option
@out_option
@json_option
def shifts(model: str, image: Path, most: int | None, weights: Path | None, out: Path, as_json: bool) -> None:
    """How far the stages of MODEL are from shifting with IMAGE, and its answer from not noticing."""
    from minicnn.instruments.plots import draw_curves
    from minicnn.instruments.shifts import shift_study

    net, facts = opened(model, weights)
    channels, height, width = facts["shape"]
    most = most or min(max(8, *(stage.stride for stage in net.stages)), min(height, width) // 2)
    steps = range(1, most + 1)
    scene = read_image(image, {**facts, "shape": (channels, height + most, width + most)})[None]
    found = shift_study(net, scene, steps)
    classes = [facts["classes"][k] for k in found.classes]
    strides = {stage.name: stage.stride for stage in net.stages}
    title = f"{Path(model).name}: how far stages are from shifting with the picture, 0 is exactly"
    files = put(out, {"shifts": draw_curves(_panels(found, steps, strides), title=title)})
    stages = {name: [each._asdict() for each in row] for name, row in found.stages.items()}
    report(files, as_json, model=model, shifts=list(steps), stages=stages, answer=found.answer, classes=classes)


def _panels(found: Any, steps: range, strides: dict[str, int]) -> list[Any]:
    from minicnn.instruments.plots import Curves

    below, left = "shift of the picture, pixels", "difference, % of the largest output"
    panels = [
        Curves(
            f"{stage}, stride {strides[stage]}", below, left, steps,
            {
                "all places": [100 * each.anywhere for each in rows],
                "the middle half": [100 * each.inside for each in rows],
            },
        )
        for stage, rows in found.stages.items()
    ]  # fmt: skip
    classes = len(set(found.classes))
    told = f"the answer: {'one class' if classes == 1 else f'{classes} classes'} in {len(steps)} shifts"
    return [*panels, Curves(told, below, left, steps, {"": [100 * value for value in found.answer]})]
