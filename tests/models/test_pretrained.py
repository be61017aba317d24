"""Weights from files: torch's own state dicts of the same layers load, misfits say what the file does fit."""

import numpy as np
import pytest

from minicnn import models
from minicnn.errors import CheckpointError
from minicnn.random import Generator

torch = pytest.importorskip("torch")


@pytest.fixture(params=["few", pytest.param("all", marks=pytest.mark.slow)])
def catalog(request, monkeypatch):
    """What a file is compared with; of all models it takes seconds."""
    if request.param == "few":
        monkeypatch.setattr(models, "names", lambda: ["lenet5", "plain20_cifar10", "resnet20_cifar10"])


def saved(net, path):
    state = {name: torch.from_numpy(np.array(array)) for name, array in net.state_dict().items()}
    torch.save(state, path)
    return path


def test_a_pth_file_gives_the_same_logits(tmp_path):
    net = models.resnet20(generator=Generator(1)).eval()
    again = models.create("resnet20", weights=saved(net, tmp_path / "w.pth"), generator=Generator(2)).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    assert np.array_equal(net(x).numpy(), again(x).numpy())


def test_missing_counters_of_old_files_do_not_matter(tmp_path):
    net = models.resnet20(generator=Generator(1))
    state = {k: torch.from_numpy(np.array(v)) for k, v in net.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    loaded = models.resnet20(weights=tmp_path / "w.pth")
    assert np.array_equal(loaded.fc.weight.numpy(), net.fc.weight.numpy())


def test_a_file_of_another_model_is_named(tmp_path, catalog):
    file = saved(models.resnet20(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"the file fits plain20_cifar10, resnet20_cifar10") as caught:
        models.resnet32(weights=file)
    assert "nothing was written" in str(caught.value)


def test_another_number_of_classes_is_named(tmp_path, catalog):
    file = saved(models.resnet20(num_classes=3), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="resnet20_cifar10 with other sizes"):
        models.resnet20(weights=file)


def test_weights_of_nothing_we_have(tmp_path, catalog):
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="fits no other model"):
        models.lenet5(weights=tmp_path / "w.pth")
