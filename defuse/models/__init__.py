"""Networks: what they are, how they are trained, run and kept."""
