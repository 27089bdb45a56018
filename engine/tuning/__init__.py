"""The live algorithm, its parameters, and how they are trained safely."""
