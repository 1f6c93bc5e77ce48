"""What a module's attributes may be called, and what may replace them."""

import numpy as np
import pytest
from trivet import Tensor, nn
from trivet.errors import OptionError


def test_a_parameter_does_not_become_a_buffer_unnoticed():
    layer = nn.Linear(3, 2)
    with pytest.raises(OptionError, match=r"expected a Parameter(?s:.*)Fix: wrap it"):
        layer.weight = Tensor(np.zeros((2, 3)))
    layer.weight = nn.Parameter(np.zeros((2, 3), "float32"))
    assert list(layer.named_parameters()) == ["weight", "bias"]


def test_a_layer_does_not_take_the_name_of_a_method():
    with pytest.raises(OptionError, match=r"Sequential.forward: expected a free name"):
        nn.Sequential({"forward": nn.Linear(2, 3)})
