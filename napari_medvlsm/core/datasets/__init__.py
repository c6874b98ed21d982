"""Data sets on disk: reading, groups, splits, export, check and what is known of them. Imports no torch and no Qt."""
