"""The training console: a REST API, and the page that it serves."""
