"""The study: every table and figure of the paper, under two protocols.

python -m symjax.study list                       # what is there, what is missing
python -m symjax.study run --minutes 50           # the next missing pieces
python -m symjax.study build                      # tables, figures and page, from rows
"""
