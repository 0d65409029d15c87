"""Who names the images: trained networks that stand in for people."""
