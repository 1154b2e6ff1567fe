"""Propose the torch names of a model's layers; the user checks and applies them.

units      the layers and parameters that need a name, and the modules of the checkpoint they fit
order      the order of both sides, where it is known
likeness   the similarity of two names
pairs      pairs of rows and columns with the best scores
assign     one module for each layer: by its name, by its kind and shapes, by the order
table      the shortest equivalent table, with one line for a whole branch
proposal   the result, as text to paste and as JSON
"""
