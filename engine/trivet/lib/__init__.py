"""Thin bindings, one file per library."""
