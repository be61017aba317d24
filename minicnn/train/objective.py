"""What training makes small: the cross-entropy of the answer, and, for less, of the auxiliary answers."""

from typing import Any

from minicnn import ops
from minicnn.tensor import Tensor
from minicnn.train.args import TrainArgs


def answer_of(outputs: Any) -> Tensor:
    """The scores (N, classes) of the model itself, which come first where auxiliary heads answer too."""
    logits: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return logits


def loss_of(outputs: Any, target: Tensor, args: TrainArgs) -> Tensor:
    """The mean loss of a batch. **Math** ``CE(logits) + aux_weight sum_k CE(aux_k)``, labels smoothed in each.

    **Shapes** scores (N, classes), or a tuple of such; target (N,), or probabilities (N, classes) -> ().
    **See** Szegedy et al. 2015, section 5 (two heads, weight 0.3).
    """
    loss = ops.cross_entropy(answer_of(outputs), target, label_smoothing=args.label_smoothing)
    for auxiliary in outputs[1:] if isinstance(outputs, tuple) else ():
        loss = loss + args.aux_weight * ops.cross_entropy(auxiliary, target, label_smoothing=args.label_smoothing)
    return loss
