"""The ladder of convolution algorithms: one file a rung, each with ``convolve(x, weight, padding)``; see ``ladder.py``.

**Shapes** x (N, C, H, W), weight (K, C, R, S), y (N, K, H + 2 padding - R + 1, W + 2 padding - S + 1).
**Math** ``y[n,k,i,j] = sum_{c,a,b} w[k,c,a,b] x[n,c,i+a-padding,j+b-padding]``; stride 1, no bias, no groups.
"""
