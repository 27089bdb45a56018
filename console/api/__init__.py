"""The API of the training console."""
