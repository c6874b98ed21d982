"""The model families: one module each, and what they share. Imports torch."""
