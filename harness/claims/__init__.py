"""Numbers and directions in prose, held against the records.

`check` is the way in. Not here: how what was found is shown.
"""
