"""Feature recipes, their lookahead check and their worth."""
