"""What all pages share: they are made from `templates/`, escaped, with their images inside."""

import base64
import io
from collections.abc import Callable, Mapping

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image


def data_uri(image: UInt8[np.ndarray, "height width channels"], form: str = "webp") -> str:
    """An image inside of a page, as lossy WebP or, where nothing may get lost, as PNG."""
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).convert("RGB").save(file, form, quality=90)
    return f"data:image/{form};base64,{base64.b64encode(file.getvalue()).decode()}"


def render(template: str, filters: Mapping[str, Callable[..., object]], **context: object) -> str:
    """A page from `templates/`; every value is escaped, and a missing one is an error."""
    loader = jinja2.PackageLoader("defuse.showing")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**context)
