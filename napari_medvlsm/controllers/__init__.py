"""State and rules of the application on plain Python signals; no Qt, no napari.

`engine`   requests to the engine process: numbers, late answers, cancel, restart
`session`  the scan, the model, the prompt, the result
"""
