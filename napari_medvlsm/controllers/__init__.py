"""State and rules of the application on plain Python signals; no Qt, no napari."""
