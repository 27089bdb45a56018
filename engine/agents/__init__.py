"""Agents: the batched market environment, policies, and how they learn."""
