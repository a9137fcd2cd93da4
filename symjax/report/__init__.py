"""Tables, plots and pages of rows and per-image values: `python -m symjax.report`."""
