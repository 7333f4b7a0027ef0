"""Losses, one a file, each of which returns its tightness and contrast parts (Table 2 of the paper)."""
