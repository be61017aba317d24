"""Measure torchvision's networks in float64 and write what the tests compare with; run by hand.

``pip install -e '.[peer]' && python -m tests.golden.write [name ...]``, names as torchvision's or its calls, of
functions (``"googlenet(aux_logits=True)"``) and classes (``"MobileNetV2(width_mult=1.4)"``); without a name: every
network that a registered model says it is.
"""

import argparse
import inspect
import json
import sys
from typing import Any

import numpy as np
import torch

from tests.golden import rule

# Operators that torchvision registers more about while it is imported. A wheel whose compiled part does not load (one
# for another CUDA) lacks them; no classifier uses them.
REGIONS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "deform_conv2d")
OPERATORS = ("nms", "qnms", "qroi_align", *REGIONS, *(f"_{name}_backward" for name in REGIONS))


def import_torchvision() -> Any:
    try:
        import torchvision
    except RuntimeError as error:
        if "does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        import torchvision

        torchvision.operators = library  # they live as long as it does
    return torchvision


def build(torchvision: Any, call: str) -> torch.nn.Module:
    """The network ``name`` or ``name(option=value, ...)``, filled by the rule, in float64 and with nothing left out."""
    name, arguments = rule.parsed(call)
    if name == "googlenet":  # its auxiliary heads are absent when weights are loaded, which is what the name stands for
        arguments = {"aux_logits": False} | arguments
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False
    constructor = getattr(torchvision.models, name)
    if not inspect.isclass(constructor):
        arguments["weights"] = None
    net: torch.nn.Module = constructor(**arguments).double()
    for key, tensor in net.state_dict().items():  # the network's own memory
        tensor.copy_(torch.from_numpy(np.asarray(rule.value(key, tensor.shape))))
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout | torchvision.ops.StochasticDepth):
            module.p = 0.0
    return net


def golden(net: torch.nn.Module, call: str) -> dict[str, Any]:
    state = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    x = torch.from_numpy(rule.input_of(call)).requires_grad_()
    with torch.no_grad():
        logits = net.eval()(x).numpy()
    results = rule.outputs(net.train()(x))
    factors = rule.weights_of_loss([y.shape for y in results])
    torch.stack([(y * torch.from_numpy(f)).sum() for y, f in zip(results, factors, strict=True)]).sum().backward()
    grads = {name: p.grad.numpy() for name, p in net.named_parameters() if p.grad is not None}
    assert x.grad is not None and len(grads) == len(list(net.parameters()))
    gradients, buffers = rule.by_group(grads), rule.by_group(_float64(dict(net.named_buffers())))
    return {
        "torchvision": call,
        "input": list(x.shape),
        "logits": logits[:, ::125].tolist(),
        "all_logits": rule.measure({"logits": logits}),
        "training_logits": [rule.measure({"logits": y.detach().numpy()}) for y in results],
        "input_gradient": rule.measure({"input": x.grad.numpy()}),
        "groups": {
            key: {"state": rule.signature({name: state[name] for name in names})}
            | ({"gradient": gradients[key]} if key in gradients else {})
            | ({"buffers": buffers[key]} if key in buffers else {})
            for key, names in rule.groups(list(state)).items()
        },
    }


def _float64(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().astype(np.float64) for name, tensor in tensors.items()}


def text(content: dict[str, Any]) -> str:
    """JSON with one group a line."""
    groups = ",\n".join(f"  {json.dumps(key)}: {json.dumps(found)}" for key, found in content["groups"].items())
    lines = [f" {json.dumps(key)}: {json.dumps(found)}" for key, found in content.items() if key != "groups"]
    return "{\n" + ",\n".join([*lines, f' "groups": {{\n{groups}\n }}']) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    torchvision = import_torchvision()
    versions = {"torch": torch.__version__.partition("+")[0], "version": torchvision.__version__.partition("+")[0]}
    rule.FOLDER.mkdir(exist_ok=True)
    for call in parser.parse_args().names or rule.networks():
        content = versions | golden(build(torchvision, call), call)
        path = rule.path_of(call)
        path.write_text(text(content), encoding="utf-8")
        print(f"{call}: {path.name}, {path.stat().st_size:,} bytes, logits of norm {content['all_logits'][0]:.3g}")


if __name__ == "__main__":
    main()
