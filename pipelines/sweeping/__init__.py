"""Search over a recipe's settings by Optuna and validation videos."""
