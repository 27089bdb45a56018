"""Synthetic PANIC windows: generators, the tests they must pass, and the mix with real ones."""
