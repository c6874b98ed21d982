"""Projects: a folder of scans that is worked through over days, with every version of every outline."""
