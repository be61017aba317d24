"""Instruments that look into a network: what a unit sees, what a block does, what a training step needs.

One file an instrument; each function takes a model or an array and returns numbers, ``drawing.py`` makes PNG files of
them, and ``minicnn look`` and ``minicnn memory`` call both. ``docs/instruments.md`` shows what each is for.
"""
