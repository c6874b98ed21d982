"""Data files that ship with the package: vocabulary, model folders and sample scans."""
