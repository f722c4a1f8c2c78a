"""The HTML report of a run: one page with tables, figures and an interactive viewer."""
