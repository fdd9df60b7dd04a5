"""The write-up: its sections, composed into a `document`, and a renderer for each format.

Numbers come from `report.estimates` and sentences from `report.summary`; not here: figures, which the report shows too.
"""
