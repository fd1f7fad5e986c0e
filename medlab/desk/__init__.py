"""Where people work: notebooks of a run in JupyterLab, what they changed there, the way from a file to pages."""
