"""Trainings side by side: finding and reading their work directories, a table, a comparison."""
