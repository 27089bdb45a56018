"""Sources on the network behind the exchange feed: one module each, all asked with the same patience."""
