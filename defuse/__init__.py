"""Defuse: find, name and correct an image classifier's bugs beyond its test set."""
