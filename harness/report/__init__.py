"""What you read: records and notes as they are written, terminal pages, the HTML report, the paper and their figures.

`recorder` writes records and commits; every other module renders, and retypes nothing. Not here: what a verdict rests on.
"""
