"""Our own search over finite grids of settings: a Gaussian process that scores every configuration that was not measured yet."""
