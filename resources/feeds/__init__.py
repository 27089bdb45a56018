"""Where market data comes from: simulated, files on disk, venues."""
