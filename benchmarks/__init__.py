"""Benchmarks of symjax against other libraries, see benchmarks/README.md.

python -m benchmarks.training --smoke
"""
