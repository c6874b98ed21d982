"""Data sets on disk: layouts, annotation files, export and check. Imports no torch."""
