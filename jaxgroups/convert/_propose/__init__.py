"""Propose the torch names of a model's layers, for people to check; nothing here is applied.

units      what needs a name: layers and parameters, with the modules of the checkpoint they fit
order      the order of both sides, where it is known
likeness   how much a name resembles another
assign     one module for each layer: by its name, by its kind and shapes, by the order
table      the shortest table that says the same, one line for a whole branch
proposal   the result, as text to paste and as JSON
"""
