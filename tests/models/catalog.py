"""The reference counts: ``tests/reference/catalog.tsv``, from reference code or papers; and which networks are one."""

import csv
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from minicnn import models

FILE = Path(__file__).parents[1] / "reference" / "catalog.tsv"

# Rows that are no model here, each with its reason.
EXCLUDED: dict[str, str] = {
    "lenet1": "the paper prints no table of its partial connections, and about 2,600 parameters",
    "zfnet_literal_slide": "the lecture's table read literally: it forgets a stride, and 386M parameters result",
    "squeezenet_deepcompress_6bit": "squeezenet1_0 itself; what is compressed is the file of its weights",
    "stn_svhn_single": "five softmax heads of 11 classes; what could be read of its layers contradicts itself",
}

# Rows that are blocks, no nets: the test that counts their parameters and multiply-adds.
BLOCKS: dict[str, str] = {
    "mlp_5x5_dense": "test_intro.py::test_five_units_that_see_five_numbers_have_25_arrows",
    "conv1d_k3_5": "test_intro.py::test_a_convolution_of_width_three_has_13_arrows_and_3_weights",
    "keras_toy_dense2_dense1": "test_intro.py::test_the_keras_summary_of_two_dense_layers",
    "inception_naive_block": "test_googlenet.py::test_the_blocks_of_the_lecture",
    "inception_dimred_block": "test_googlenet.py::test_the_blocks_of_the_lecture",
}
# Rows of which the reference counts something else: the test that adds up the difference.
OTHER_PARAMS: dict[str, str] = dict.fromkeys(
    ("prelunet_a", "prelunet_b", "prelunet_c"), "test_prelunet.py::test_slopes_are_parameters_too"
)
OTHER_MACS: dict[str, str] = {
    "googlenet_aux": "test_googlenet.py::test_multiply_adds_of_training",
    "ror3_wrn58_4_cifar10": "test_ror.py::test_multiply_adds_without_level_shortcuts",
    "nasnet_a_mobile": "test_nasnet.py::test_multiply_adds_with_what_is_cut_off",
}


class Reference(NamedTuple):
    """One row; counts are None where the source gives none."""

    name: str
    family: str
    input: str
    num_classes: str
    params: int | None
    macs: int | None
    torchvision: str
    timm: str


@cache
def rows() -> dict[str, Reference]:
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            row["name"]: Reference(
                row["name"],
                row["family"],
                row["input_CxHxW"],
                row["num_classes"],
                int(row["params_exact"]) if row["params_exact"] else None,
                int(row["macs_exact"]) if row["macs_exact"] else None,
                row["torchvision_name"],
                row["timm_name"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        }


@cache
def smallest_of_each_class(family: str) -> tuple[str, ...]:
    """Of each class that a file of ``models.INDEX`` builds its networks from, the one with the fewest parameters."""
    table = import_module(f"minicnn.models.{family}").TABLE
    largest_first = sorted(table, key=lambda row: rows()[row.info.name].params or 0, reverse=True)
    return tuple({row.build: row.info.name for row in largest_first}.values())


@cache
def distinct_networks(of_torchvision: bool = False) -> tuple[str, ...]:
    """The names of ``models.names()``, or of those that torchvision has too; of networks that differ in the size of
    their pictures only the first."""
    first: dict[object, str] = {}
    for family in models.INDEX:
        for info, build, options in import_module(f"minicnn.models.{family}").TABLE:
            if info.torchvision or not of_torchvision:
                made_of = (build, repr(sorted(options.items())), info.num_classes, info.input_shape[0])
                first.setdefault(made_of, info.name)
    return tuple(first.values())
