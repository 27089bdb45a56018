"""The alpha engines, one module per kind of input."""
