"""What the charts of the catalog are drawn from."""

import pytest

from minicnn import models
from minicnn.errors import ArgumentError
from minicnn.instruments.charts import BALLS, DEEPER, FAMILIES, balls, depths, point


def test_every_network_of_the_charts_has_what_is_drawn_of_it():
    for name in (*dict(BALLS), *(name for names in FAMILIES.values() for name in names)):
        info = models.info(name)
        assert info.published.top1_error and info.num_classes in (1000, 1001), name
    assert all(models.info(name).published.top5_error for name in DEEPER)


def test_a_point():
    assert point("resnet18") == ("resnet18", 2015, 11_689_512, 1_814_073_344, 30.43)


def test_what_nobody_published_is_not_drawn():
    with pytest.raises(ArgumentError, match="no top-1 error of resnet20_cifar10 on ImageNet"):
        balls(["resnet20_cifar10"])
    with pytest.raises(ArgumentError, match="no top-5 error of lenet5"):
        depths(["lenet5"])
