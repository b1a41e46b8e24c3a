"""The tolerances of the tests, stated once and never relaxed."""

# Parity with independent implementations in float32, relative to the largest value of a tensor.
PARITY = 1e-4
# The same computation in another order of summation (meshes, micro-batches), float32, relative.
REORDERED = 1e-5
# Significance level of tests of distributions.
SIGNIFICANCE = 1e-3
