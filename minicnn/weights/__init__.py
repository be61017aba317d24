"""Files of weights: safetensors and PyTorch's ``.pth``, read without executing anything.

``load(path)`` gives names and NumPy arrays whatever the container; which model they fit is the catalog's business
(``minicnn.models.create(name, weights=path)``).
"""

from minicnn.weights.files import load

__all__ = ["load"]
