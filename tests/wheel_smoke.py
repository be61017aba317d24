"""Prove that a wheel works alone: `python wheel_smoke.py WHEEL MINICNN_COMMAND`, in an environment that holds only it.

Every module of the wheel imports, every data file is found, LeNet-5 learns, and the installed command answers.
"""

import importlib
import importlib.resources
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

SCRIPTS = {"minicnn.data.make_digits"}  # run by hand with a library that the package does not depend on


def imports_everything(wheel: Path) -> None:
    import minicnn

    installed = Path(sysconfig.get_path("purelib")).resolve()
    assert installed in Path(minicnn.__file__).resolve().parents, f"{minicnn.__file__} is not the installed package"
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("minicnn/")]
    dotted = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names if name[-3:] == ".py"
    }
    cuda = {name for name in dotted if name.endswith(".cuda")}  # needs CuPy
    for name in sorted(dotted - SCRIPTS - cuda - {"minicnn.__main__"}):
        importlib.import_module(name)
    data = [name for name in names if name[-3:] != ".py"]
    for name in data:
        folder, _, file = name.rpartition("/")
        assert (importlib.resources.files(folder.replace("/", ".")) / file).is_file(), name
    assert any(name.endswith(".npz") for name in data) and "minicnn/py.typed" in data, data
    assert {"minicnn.kernels.conv", "minicnn.models"} <= dotted, sorted(dotted)
    print(f"{len(dotted)} modules, {len(data)} data files")


def trains() -> None:
    import numpy as np

    import minicnn
    from minicnn import data, models, ops, optim

    minicnn.manual_seed(0)
    model = models.create("lenet5", num_classes=10)
    images, labels = data.load("digits", "train", size=32).batch(np.arange(64))
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(minicnn.Tensor(images)), minicnn.Tensor(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    print(f"LeNet-5: loss {losses[0]:.3f} -> {losses[-1]:.3f} in {len(losses)} steps")


def command_answers(command: str) -> None:
    done = subprocess.run([command, "models", "lenet*"], capture_output=True, encoding="utf-8", check=True)
    assert "lenet5" in done.stdout, done


if __name__ == "__main__":
    imports_everything(Path(sys.argv[1]))
    trains()
    command_answers(sys.argv[2])
