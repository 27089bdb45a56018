"""What assets are handed: settings, the warehouse, the feeds."""
