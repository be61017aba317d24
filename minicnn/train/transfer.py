"""Beginning with the weights of another run, or of a file, instead of random ones."""

from pathlib import Path
from typing import Any

import minicnn
from minicnn import models, weights
from minicnn.errors import CheckpointError
from minicnn.train.checkpoint import Arrays, load_newest, of_prefix
from minicnn.train.run import RunFolder


def load_initial(model: Any, source: str, name: str, options: dict[str, Any]) -> str:
    """Put the weights of ``source`` (a run folder, a checkpoint, safetensors, ``.pth``) into ``model``.

    ``name`` is its name in the catalog, ``options`` what it was built with. Layers whose shape depends on the number of
    classes, the head, keep their new random weights where that number differs. Returns a sentence on what was done.
    **Raises** CheckpointError when anything but the head does not fit; nothing is written then.
    """
    values = _arrays_of(Path(source).expanduser())
    values = dict(model.adapt_state(values)) if hasattr(model, "adapt_state") else values
    own = model.state_dict()
    differing = {key for key, array in values.items() if key in own and array.shape != own[key].shape}
    head = differing & head_of(name, options)
    if not head:
        try:
            model.load_state_dict(values)
        except CheckpointError as error:
            raise CheckpointError(f"train: init={source}: {error}") from None
        return f"begins with all weights of {source}"
    try:
        model.load_state_dict({key: own[key] if key in head else array for key, array in values.items()})
    except CheckpointError as error:
        raise CheckpointError(f"train: init={source}: {error}") from None
    was, now = (len(state[min(head)]) for state in (values, own))
    return f"begins with the weights of {source}; new is the head, {', '.join(sorted(head))}: {now} classes, not {was}"


def head_of(name: str, options: dict[str, Any]) -> set[str]:
    """The entries of a model's state whose shape depends on the number of classes."""
    with minicnn.abstract():
        one, other = (models.create(name, **{**options, "num_classes": count}).state_dict() for count in (11, 13))
    return {key for key in one if one[key].shape != other[key].shape}


def _arrays_of(path: Path) -> Arrays:
    if path.is_dir():
        return of_prefix("model", load_newest(RunFolder.open(path).best)[0].arrays)
    values = weights.load(path)
    return of_prefix("model", values) or values
