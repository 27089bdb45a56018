"""Vendors' file formats: one module each, and one registry that recognises a file by its content."""
