"""Readers and writers, one file per format family.

`atomic`          files and folders that are written atomically
`images`          PNG, JPEG, TIFF and OME-TIFF to arrays with spacing
`pictures`        formats, colour, orientation and limits of picture files
`mask_files`      masks by what they hold
`listing`         pictures in a folder, as a list of scans
`labels`          masks to label TIFF and PNG, and back
`autosave`        corrections that survive a crash
`disk_errors`     errors of disks and folders in words
`prompt_history`  favourites and prompts used before
`settings`        settings of the panel that are kept between sessions
"""
