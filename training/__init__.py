"""Labelled pictures -> a model bundle. The only package that imports torch."""
