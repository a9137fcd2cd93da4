"""What every row of results has, for tests that make rows up."""

IDENTITY = {
    "run": "net",
    "model": "baseline",
    "depth": 4,
    "trunk": "matched",
    "epoch": 1,
    "dataset": "digits",
    "dtype": "float32",
    "protocol": "sound",
    "attack": "none",
    "steps": None,
    "split": "test",
    "n": 3,
    "seed": 0,
    "norm": None,
    "eps": 0.0,
    "corruption": None,
    "severity": 0,
    "metric": "accuracy",
}
FACTS = {"diverged": False, "data": "hash"}
