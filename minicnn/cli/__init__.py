"""The command line: one file a command, each loaded when it is called.

Results go to stdout (``--json`` everywhere), progress to stderr. Exit codes: 0 done, 1 a check failed or training
went wrong, 2 wrong use or a missing device, 130 stopped by Ctrl-C.
"""

import importlib
import io
import os
import sys
from typing import Any

import click

import minicnn
from minicnn.errors import ArgumentError, DataError, DeviceError, MinicnnError

COMMANDS = {
    "diff": "The layers in which two models differ.",
    "env": "What works here: versions, threads, GPU, caches, and how to get what is missing.",
    "evaluate": "How good trained runs are, alone or together.",
    "explore": "Networks as a page to click through: layers, the way of data, widths, two side by side.",
    "features": "What a layer of a trained run makes of images.",
    "look": "Look into a network: where it looks, what its blocks do; charts of the catalog.",
    "memory": "How much memory training a model takes, and which batch fits.",
    "models": "List the registered models.",
    "predict": "Classify images with trained runs.",
    "report": "Write the page of a training run again.",
    "slides": "The numbers of five lecture decks, computed again.",
    "study": "Train many runs that differ in a few options, and compare them.",
    "summary": "Layers, shapes, parameters and multiply-adds of a model.",
    "train": "Train a model; without options LeNet-5 on the handwritten digits.",
}


class LazyGroup(click.Group):
    """Imports a command's file only when that command is called: ``--help`` stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"minicnn.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(minicnn.__version__)
def cli() -> None:
    """minicnn: convolutional networks from scratch, readable and fast."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; minicnn's own errors become one clear line on stderr and an exit code."""
    _mend_streams()
    try:
        code = cli.main(args=arguments, prog_name="minicnn", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MemoryError as error:
        click.echo(f"minicnn: not enough memory ({error}); fix: a smaller --size or --batch-size", err=True)
        sys.exit(1)
    except MinicnnError as error:
        click.echo(f"minicnn: {error}", err=True)
        sys.exit(2 if isinstance(error, (ArgumentError, DataError, DeviceError)) else 1)
    except OSError as error:  # of a file, or of stdout on a full disk
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        click.echo(f"minicnn: {where}{error.strerror or error}", err=True)
        sys.exit(1)


def _mend_streams() -> None:
    """Give a process without stdout or stderr (``>&-``) ones that lead nowhere, and let none choke on a character.

    They take the numbers 1 and 2, which would otherwise go to the next file that is opened. What the terminal cannot
    show, such as the name of a folder that is no UTF-8, is written ``\\udcff``.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  (until the end)
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
