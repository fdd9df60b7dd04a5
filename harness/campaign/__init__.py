"""A campaign and what is in its folder: idea, contract, journal, records, git repository, budget. And what every room needs:
the protocols, errors, text, numbers, files and paths.

Not here: anything that executes the experiment, asks an agent or judges a result.
"""
