"""Pictures and masks from files, recognised by content, with bounded time and memory.

`formats`           what kind of file it is, from its first bytes
`raster`            what a decoder gives: upright samples and what they mean
`limits`            how large a picture may be, checked before anything is decoded
`tiff_directories`  the structure of a TIFF file, read with bounds of our own
`tiff`              TIFF to raster
`common`            PNG, JPEG, BMP and GIF to raster
`colour`            rasters to grey or RGB as a viewer shows them
`foreground`        rasters to masks, by the values that they hold
`spacing`           millimetres per pixel
`decode`            a file of a known kind to a raster, in this process
`child`             the same in a process that may die
`header`            what a file says beside its pixels
`reading`           the one entrance: a file to a raster, here or there
"""
