"""Which rows of a pool to train on."""
