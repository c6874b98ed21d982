"""The window: the only code that imports Qt and napari.

`app`        the entry point `medvlsm-gui`
`panel`      the dock widget: sections joined to the session
`samples`    sample data for napari's menu
`sections`   the panel's parts, each shows and reports
`_corrections`  the person's own outlines
`_layers`    napari layers to core values and back
`_workers`   every thread
"""
