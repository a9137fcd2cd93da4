"""Tables and figures, from rows and cells alone: no net is run."""
