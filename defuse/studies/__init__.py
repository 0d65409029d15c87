"""Comparisons around the method: searches, autoencoders, regions, rivals, planted bugs, a look by eye."""
