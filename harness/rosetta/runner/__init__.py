"""Cells and kinds become jobs; jobs become fresh processes; nothing measured is lost."""
