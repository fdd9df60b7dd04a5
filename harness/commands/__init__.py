"""The commands, by what a person does with them. `cli` puts them together.

What is heavy is imported inside the commands that use it, so that the others, and `--help`, answer at once.
"""
