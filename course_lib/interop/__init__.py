"""Weights that others published, read into the course's own classes."""
