"""List the packages: kernels/ and models/ of this folder are installed as minicnn.kernels and minicnn.models.

A static list in pyproject.toml would have to name every folder by hand, and a forgotten one works in an editable
install and is missing from the wheel. All other settings are in pyproject.toml.
"""

from setuptools import find_packages, setup

engine = find_packages(include=["minicnn", "minicnn.*"])
# minicnn/kernels and minicnn/models are links for type checkers and editors; they may be absent (sdist, Windows).
engine = [name for name in engine if name.split(".")[1:2] not in (["kernels"], ["models"])]
mapped = [f"minicnn.{top}" for top in ("kernels", "models")]
mapped += [f"minicnn.{top}.{name}" for top in ("kernels", "models") for name in find_packages(top)]

setup(packages=sorted(engine + mapped))
