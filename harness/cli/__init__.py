"""What you type: the commands, `run` and `resume` among them, and doctor, init, adopt, clean, cache.

Not here: anything that a campaign needs while it runs, and anything that formats what is read.
"""
