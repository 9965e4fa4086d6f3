"""The Common Expression Language as Kubernetes speaks it: parser, checker, evaluator, cost limits (docs/decisions/0010).

Start at ``environment.Environment``. Nothing is imported until the first expression is compiled.
"""
