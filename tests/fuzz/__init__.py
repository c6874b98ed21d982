"""Damaged and hostile files from fixed seeds, and a hammer that opens them: see `python -m tests.fuzz --help`."""
