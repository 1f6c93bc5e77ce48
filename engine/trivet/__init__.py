"""The engine: not built yet. Its first leg, the NumPy reference, comes next (docs/plan.md)."""
