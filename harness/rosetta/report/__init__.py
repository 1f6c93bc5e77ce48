"""Rows into tables, plots and pages. Nothing here computes a number that a row does not hold."""
