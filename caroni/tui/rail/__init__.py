"""A workflow's graph as a rail: one row a step, lanes on its left. Pure: no terminal, no database, no clock.

``graph`` takes the graph out of a plan, ``groups`` folds what is alike, ``layout`` gives rows and lanes,
``gutter`` draws the lanes of a row, ``paths`` knows what waits for what and what takes longest.
"""
