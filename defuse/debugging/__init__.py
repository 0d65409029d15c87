"""A user's own classifier through the method: find, label, correct, report."""
