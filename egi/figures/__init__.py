"""Every figure of the paper and some more, one function each, from the files of a run; docs/metrics.md lists them.

Functions return a matplotlib `Figure` and use no global state; draw and save them inside `style.look()`.
"""
