"""Who names the images: people, and trained networks that stand in for them."""
