"""The hash behind every mask, in plain Python: the twins repeat it on 64-bit integers."""

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15  # odd, 2**64 / golden ratio: neighbouring counters land far apart


def mix64(z: int) -> int:
    """SplitMix64's finaliser (Stafford's variant 13): a bijection of 64-bit integers in which each input bit flips
    each output bit with probability one half.

    **See** Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    z = (z + GOLDEN) & MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)
