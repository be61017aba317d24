"""``minicnn report RUN``: write the page of a run again."""

from pathlib import Path

import click

from minicnn.cli.output import json_option, print_json


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def command(run: Path, as_json: bool) -> None:
    """Write report.html of the folder RUN again and print its path.

    The best weights of a finished run are evaluated on the test part again; of a run that goes on, the page shows how
    far it is. What only the training process knew (peak memory, machine, versions) comes from facts.json.
    """
    from minicnn.train import RunFolder, page

    folder = RunFolder.open(run)
    story = page.of_folder(run)
    page.write(folder.report, story)
    if as_json:
        accuracy = None if story.test is None else story.test.accuracy
        print_json({"page": str(folder.report), "epochs": len(story.rows), "test_accuracy": accuracy})
    else:
        click.echo(folder.report)
