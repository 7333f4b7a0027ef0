"""Kills and power cuts: planned operations, processes and disks that fail, and the oracle that judges what is left."""
