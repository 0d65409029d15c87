"""Data sets: where they come from, how they are split, what their classes are called."""
