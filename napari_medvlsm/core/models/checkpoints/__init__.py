"""Checkpoints that other programs wrote: read without running them, recognised, and converted into model folders."""
