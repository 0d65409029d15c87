"""What checks the shapes in the annotations of `defuse` while the tests run: jaxtyping's import hook asks for it.

Only annotations that hold a shape are checked: numbers and networks are mypy's business, and tests put in stand-ins.
"""

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def holds_shape(hint: Any) -> bool:
    """Whether an annotation is an array's with a shape, or has one inside."""
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(holds_shape, get_args(hint)))


def checked(function: Callable) -> Callable:
    """The function with a check of the shapes of its arguments and its result."""
    shapes = {name: hint for name, hint in function.__annotations__.items() if holds_shape(hint)}
    function.__annotations__ = shapes
    return beartype(function) if shapes else function
