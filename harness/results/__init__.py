"""Result files of all shapes, read once into flat names; the sanity rules that say whether they are evidence.

Nothing is believed because a file exists. Not here: anything that compares two runs.
"""
