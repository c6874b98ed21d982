"""Model folders: cards, the registry of what is here, and public weights fetched from a hub. Imports no torch."""
