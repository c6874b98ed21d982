"""Readers and writers, one file per format family.

`atomic`    files and folders that are either old or new, never half
`images`    PNG, JPEG, TIFF and OME-TIFF to arrays with spacing
`labels`    masks to label TIFF and PNG, and back
`dataset`   the reference's training layout
`autosave`  corrections that survive a crash
"""
