"""The `Segmenter` in a process of its own, behind a pipe.

`protocol`  what goes through the pipe
`client`    the viewer's end: start, send, receive, kill (imports no torch)
`server`    the engine's end (`python -m napari_medvlsm.core.engine`)
"""
