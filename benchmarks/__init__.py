"""How fast symjax is, against what a user would pick instead: see README.md here.

python -m benchmarks.training --smoke
"""
