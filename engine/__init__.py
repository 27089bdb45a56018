"""Arrays and frames in, arrays and frames out: the algorithms, without orchestrator, database or network."""
