"""Search over a recipe's settings by Optuna; test videos are never looked at."""
