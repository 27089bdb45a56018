"""Engines that turn features into predictions and signals."""
