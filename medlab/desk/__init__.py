"""Where people work: the notebooks of a run in JupyterLab, what they changed there, and the way from a file to pages."""
