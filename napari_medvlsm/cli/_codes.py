"""Exit codes: all done; some scans failed; nothing could be done."""

OK, SOME_FAILED, FAILED = 0, 1, 2
