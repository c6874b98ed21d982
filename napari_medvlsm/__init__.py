"""Language-driven segmentation of 2D medical scans in napari.

Importing this package stays instant: no torch, no Qt, no napari.
"""

__version__ = "0.1.0"
