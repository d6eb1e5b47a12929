"""One class per op. Importing this package registers them all."""

from . import (  # noqa: F401
    activation,
    arithmetic,
    conv,
    elementwise,
    exponential,
    extreme,
    index,
    layout,
    lean,
    linear,
    loss,
    matmul,
    noise,
    norm,
    parameter,
    pool,
    reduce,
    resize,
    standardise,
    view,
)
