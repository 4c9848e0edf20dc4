"""Tasks that an emulated command runs as its own children, as `srun` does.

Executed inside a shim, which gives it `sock`, `send` and `receive`.
"""

# mypy: ignore-errors
