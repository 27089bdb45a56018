"""The asset graph, one module per group: reads, calls engine, returns."""
