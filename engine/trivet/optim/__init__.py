"""Optimisers, schedules of the rate, clipping and loss scaling.

What changes from step to step lives in Tensors made in the constructor: a captured step sees it.
"""

from .adam import Adam, AdamW
from .clipping import clip_grad_norm_, clip_grad_value_
from .optimizer import Optimizer
from .rmsprop import RMSprop
from .scaling import LossScaler
from .schedules import Schedule, constant, cosine, polynomial, step_decay, warmup
from .sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "LossScaler",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "clip_grad_norm_",
    "clip_grad_value_",
    "constant",
    "cosine",
    "polynomial",
    "step_decay",
    "warmup",
]
