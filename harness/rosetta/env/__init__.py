"""The environments: one that orchestrates, one for each framework, each built from its lock file.

``locks``, ``exclusive`` and ``orchestrating`` need the standard library alone: they run before
anything is installed.
"""
