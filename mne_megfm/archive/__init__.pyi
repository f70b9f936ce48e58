from ._prepare import (
    prepare as prepare,
)
