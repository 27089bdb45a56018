"""SQL models: one SELECT a file, with their tests in schema.yml."""
