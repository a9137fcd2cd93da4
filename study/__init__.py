"""The study: every table and figure of the paper, under two protocols.

python -m study list                              # what is measured, what is missing
python -m study run --minutes 50                  # the next missing measurements
python -m study build                             # tables, figures and page, from rows
"""

import sys

if sys.argv[:1] == ["-m"]:  # the start of `python -m study`, which imports JAX
    from symjax import interruption

    interruption.install()
