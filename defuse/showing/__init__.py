"""What people look at: figures, notebooks, the bug atlas, README's tables."""
